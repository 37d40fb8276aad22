"""Timelines in the page that get the frames of tests, without a run."""

import re
from typing import Any

from playwright.async_api import Locator, Page

from dockrion.events.types import TERMINAL

Happened = tuple[str, float, dict[str, Any]]  # an event: its type, milliseconds after the start, fields
START = 1_767_225_600_000  # milliseconds since the epoch, as all times here
_MAKE = """async (name) => {
    const { Timeline } = await import("./assets/timeline/timeline.js");
    const root = document.createElement("div");
    root.id = name;
    document.querySelector("#run").append(root);
    const showFrame = (sequence) => (window.shownFrame = sequence);
    window[name] = new Timeline(root, { label: name, showFrame });
}"""
_ADD = """([name, events]) => window[name].add(events.map(([event, at, fields], index) => ({
    id: index + 1, event, raw: JSON.stringify(fields),
    data: { type: event, sequence: index + 1, timestamp: new Date(at).toISOString(), ...fields },
})))"""


class ShownTimeline:
    """A timeline in a page, beside the page's own."""

    def __init__(self, page: Page, name: str = "tested") -> None:
        self.page = page
        self.name = name
        self.root = page.locator(f"#{name}")
        self.chart = self.root.get_by_role("grid")
        self.rows = self.root.get_by_role("row")
        self.cells = self.root.get_by_role("gridcell")
        self.details = self.root.locator(".details")

    async def show(self, *events: Happened, created: float | None = None) -> None:
        """Show a run by its events.

        Args:
            events: The run is over if the last one is terminal.
            created: When the run was created, in milliseconds after the start.
        """
        await self.page.evaluate(_MAKE, self.name)
        if created is not None:
            await self.page.evaluate(
                "([name, time]) => window[name].created(time)", [self.name, START + created]
            )
        await self.page.evaluate(
            _ADD, [self.name, [(kind, START + at, fields) for kind, at, fields in events]]
        )
        if events[-1][0] in TERMINAL:
            await self.page.evaluate("(name) => window[name].end('completed')", self.name)

    async def labels(self, row: int) -> list[str]:
        """Return the accessible names of what is in a row."""
        cells = self.rows.nth(row).get_by_role("gridcell")
        return list(await cells.evaluate_all("(all) => all.map((each) => each.ariaLabel)"))

    def cell(self, name: str | re.Pattern[str]) -> Locator:
        return self.root.get_by_role("gridcell", name=name)
