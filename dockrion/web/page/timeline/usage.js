// The tokens that a run has used, by model.

import { byId, make } from "../dom.js";

const COUNTS = ["input_tokens", "output_tokens", "total_tokens"];
const MAX_MODELS = 50;
const part = byId("usage");

let sums = new Map();

export function clear() {
  sums = new Map();
  part.hidden = true;
}

/** Add `usage` events. */
export function add(events) {
  if (events.length === 0) return;
  for (const event of events) {
    const model = event.model ?? "unknown";
    const sum = sums.get(model) ?? {};
    for (const count of COUNTS) sum[count] = (sum[count] ?? 0) + (event[count] ?? 0);
    sums.set(model, sum);
  }
  draw();
}

/** Show the service's own sums, which include events that are not shown; without any, nothing changes. */
export function showTotal(usage) {
  if (usage === undefined || usage === null) return;
  sums = new Map(Object.entries(usage));
  draw();
}

function draw() {
  part.hidden = sums.size === 0;
  part.querySelector("tbody").replaceChildren(...[...sums].slice(0, MAX_MODELS).map(([model, sum]) => make("tr", {},
    make("th", { scope: "row", textContent: model }),
    ...COUNTS.map((count) => make("td", { textContent: (sum[count] ?? 0).toLocaleString() })))));
}
