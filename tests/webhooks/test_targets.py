"""Which events go to whom."""

import msgspec
import pytest

from dockrion.events import Entry
from dockrion.webhooks.signing import Secret
from dockrion.webhooks.targets import CALLER, Targets
from tests.backends.conformance import new_run
from tests.webhooks.receiver import SECRET

TYPES = {
    "https://a.example/": ["complete", "error", "cancelled"],
    "https://b.example/": ["token", "custom"],
    "https://c.example/": ["custom:x", "complete"],
}
RUN = new_run()


def targets(*, callers: bool = True) -> Targets:
    secret = Secret(SECRET)
    return Targets([(url, secret, types) for url, types in TYPES.items()], secret if callers else None)


def sent(event_type: str, webhook_url: str | None = None, **options: bool) -> str:
    """Return the first letters of the hosts that get an event, or `-` for the run's own."""
    made = targets(**options)
    run = msgspec.structs.replace(RUN, webhook_url=webhook_url)
    copies = made.copies(run, [Entry(1, "step", b"", 1.0), Entry(2, event_type, b"", 1.0)])
    assert all(copy.entry.type == event_type for copy in copies)
    names = [name for copy in copies for name in copy.targets]
    found = [made.get(name) for name in names]
    return "".join(
        "-" if each and each.url is None else each.url[8] if each and each.url else "?" for each in found
    )


@pytest.mark.parametrize(
    ("event_type", "hosts"),
    [
        ("complete", "ac"),
        ("error", "a"),
        ("started", ""),
        ("token", "b"),
        ("custom:x", "cb"),
        ("custom:y", "b"),
        ("progress", ""),
    ],
)
def test_each_target_gets_the_types_that_it_names(event_type: str, hosts: str) -> None:
    assert sent(event_type) == hosts


def test_the_url_of_a_run_gets_its_end_where_callers_may_name_one() -> None:
    url = "https://mine.example/"
    assert sent("error", url) == "a-"
    assert sent("token", url) == "b"
    assert sent("error", url, callers=False) == "a"
    assert targets(callers=False).get(CALLER) is None


def test_a_run_that_is_in_no_listing_causes_no_webhook() -> None:
    run = msgspec.structs.replace(RUN, unlisted=True, webhook_url="https://mine.example/")
    assert targets().copies(run, [Entry(1, "complete", b"", 1.0)]) == []


def test_names_do_not_depend_on_the_order_of_targets_and_hide_urls() -> None:
    secret = Secret(SECRET)
    urls = list(TYPES)
    one = Targets([(url, secret, ["complete"]) for url in urls], None)
    other = Targets([(url, secret, ["complete"]) for url in reversed(urls)], None)
    entries = [Entry(1, "complete", b"", 1.0)]
    names = one.copies(RUN, entries)[0].targets
    assert set(names) == set(other.copies(RUN, entries)[0].targets)
    assert not any("example" in name or " " in name or ":" in name for name in names)
    assert one.get("unknown") is None
