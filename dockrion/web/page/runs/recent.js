// The list of recent runs, which opens them.

import { requestJson } from "../api.js";
import { byId, make } from "../dom.js";

const MAX_RUNS = 20;
const list = byId("runs");

let open = () => {};
let current = null;
let shown = null; // the state of the displayed run, as its events have it

/** Show the list; `openRun` gets the id of a run that is chosen. */
export function start(openRun) {
  open = openRun;
  byId("recent").hidden = false;
  byId("refresh").addEventListener("click", refresh);
  return refresh();
}

/** Mark the run that is displayed, null for none. */
export function mark(runId) {
  if (runId !== current) shown = null;
  current = runId;
  for (const button of list.querySelectorAll("button")) {
    button.ariaCurrent = String(button.dataset.run === current);
  }
}

/** Show the state of the displayed run: its status, or that it is waiting for an answer. */
export function showState(state) {
  shown = state;
  const button = list.querySelector("[aria-current=true]");
  if (button === null) return;
  button.querySelector(".dot").className = `dot ${state}`;
  button.querySelector(".state-name").textContent = state;
}

/** Reload the list, if it is shown; after an error it stays as it is. */
export async function refresh() {
  if (byId("recent").hidden) return;
  const before = shown;
  const listing = await requestJson("GET", `runs?limit=${MAX_RUNS}`).catch(() => null);
  if (listing === null) return;
  byId("no-runs").hidden = listing.items.length > 0;
  list.replaceChildren(...listing.items.map((run) => make("li", {}, row(run))));
  mark(current);
  if (shown !== before) showState(shown);
}

function row(run) {
  const state = run.waiting_for ? "waiting" : run.status;
  const time = make("time", { dateTime: run.created_at, textContent: new Date(run.created_at).toLocaleTimeString() });
  const button = make("button", { type: "button", className: "quiet" },
    make("span", { className: `dot ${state}`, ariaHidden: "true" }),
    make("span", { className: "name", textContent: run.run_id }),
    make("span", { className: "note" }, make("span", { className: "state-name", textContent: state }), ", ", time));
  button.dataset.run = run.run_id;
  button.addEventListener("click", () => open(run.run_id));
  return button;
}
