// The list of recent runs, each to be opened.

import { askJson } from "./api.js";
import { byId, make } from "./dom.js";

const MOST = 20;
const list = byId("runs");

let open = () => {};
let current = null;

/** Show the list from now on; `opening` gets the id of a run to open. */
export function begin(opening) {
  open = opening;
  byId("recent").hidden = false;
  byId("refresh").addEventListener("click", refresh);
  return refresh();
}

/** Mark the run that is shown, null for none. */
export function mark(runId) {
  current = runId;
  for (const button of list.querySelectorAll("button")) {
    button.ariaCurrent = String(button.dataset.run === current);
  }
}

/** Ask for the runs there are, where the list is shown; one that cannot be got leaves what there was. */
export async function refresh() {
  if (byId("recent").hidden) return;
  const listing = await askJson("GET", `runs?limit=${MOST}`).catch(() => null);
  if (listing === null) return;
  byId("no-runs").hidden = listing.items.length > 0;
  list.replaceChildren(...listing.items.map((run) => make("li", {}, row(run))));
  mark(current);
}

function row(run) {
  const time = make("time", { dateTime: run.created_at, textContent: new Date(run.created_at).toLocaleTimeString() });
  const button = make("button", { type: "button", className: "quiet" },
    make("span", { className: `dot ${run.status}`, ariaHidden: "true" }),
    make("span", { className: "name", textContent: run.run_id }),
    make("span", { className: "note" }, `${run.status}, `, time));
  button.dataset.run = run.run_id;
  button.addEventListener("click", () => open(run.run_id));
  return button;
}
