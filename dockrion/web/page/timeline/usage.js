// The tokens that a run has used, by model.

import { byId, make } from "../dom.js";
import { Tally } from "./tally.js";

const COUNTS = ["input_tokens", "output_tokens", "total_tokens"];
const REPORTS = new Set(["usage", "complete"]);
const MAX_MODELS = 50;
const part = byId("usage");

let tally = new Tally();

export function clear() {
  tally = new Tally();
  draw();
}

export function add(frames) {
  const reports = frames.filter(({ event }) => REPORTS.has(event));
  if (reports.length === 0) return;
  tally.add(reports);
  draw();
}

export function end() {}

/** Show the service's own sums, which include events that are not shown; without any, nothing changes. */
export function showTotal(usage) {
  tally.replaceUsage(usage);
  draw();
}

function draw() {
  const { usage, total } = tally;
  byId("no-usage").hidden = usage.size > 0;
  part.querySelector("table").hidden = usage.size === 0;
  part.querySelector("tbody").replaceChildren(...[...usage].slice(0, MAX_MODELS).map(([model, counts]) => row(model, counts)));
  part.querySelector("tfoot").replaceChildren(...(usage.size > 1 ? [row("All models", total)] : []));
}

function row(name, counts) {
  return make("tr", {},
    make("th", { scope: "row", textContent: name }),
    ...COUNTS.map((count) => make("td", { textContent: (counts[count] ?? 0).toLocaleString() })));
}
