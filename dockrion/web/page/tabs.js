// Tabs, as the WAI-ARIA Authoring Practices have them: arrow keys move between them and select.

const STEPS = { ArrowLeft: -1, ArrowRight: 1 };

/** Make the tabs of a tablist work. Each has the id of its panel in `aria-controls`. */
export function connect(tablist) {
  const tabs = [...tablist.querySelectorAll("[role=tab]")];
  tablist.addEventListener("click", ({ target }) => {
    const tab = target.closest("[role=tab]");
    if (tab !== null) select(tabs, tab);
  });
  tablist.addEventListener("keydown", (event) => {
    const at = tabs.indexOf(event.target);
    const next = { Home: 0, End: tabs.length - 1 }[event.key] ?? at + STEPS[event.key];
    if (at < 0 || Number.isNaN(next)) return;
    event.preventDefault();
    const tab = tabs.at(next % tabs.length);
    select(tabs, tab);
    tab.focus();
  });
}

function select(tabs, chosen) {
  for (const tab of tabs) {
    const isChosen = tab === chosen;
    tab.ariaSelected = String(isChosen);
    tab.tabIndex = isChosen ? 0 : -1;
    document.getElementById(tab.getAttribute("aria-controls")).hidden = !isChosen;
  }
}
