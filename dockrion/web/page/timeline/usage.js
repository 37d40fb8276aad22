// The tokens that a run has used, by model.

import { byId, make } from "../dom.js";

const COUNTS = ["input_tokens", "output_tokens", "total_tokens"];
const MAX_MODELS = 50;
const part = byId("usage");

let sums = new Map();

export function clear() {
  sums = new Map();
  draw();
}

export function add(frames) {
  const events = frames.filter(({ id }) => id !== null);
  const reports = events.filter(({ event }) => event === "usage");
  for (const { data } of reports) {
    const model = data.model ?? "unknown";
    const sum = sums.get(model) ?? {};
    for (const count of COUNTS) sum[count] = (sum[count] ?? 0) + (data[count] ?? 0);
    sums.set(model, sum);
  }
  if (reports.length > 0) draw();
  for (const { event, data } of events) {
    if (event === "complete") showTotal(data.metadata.usage);
  }
}

export function end() {}

/** Show the service's own sums, which include events that are not shown; without any, nothing changes. */
export function showTotal(usage) {
  if (usage === undefined || usage === null) return;
  sums = new Map(Object.entries(usage));
  draw();
}

function draw() {
  byId("no-usage").hidden = sums.size > 0;
  part.querySelector("table").hidden = sums.size === 0;
  part.querySelector("tbody").replaceChildren(...[...sums].slice(0, MAX_MODELS).map(([model, sum]) => make("tr", {},
    make("th", { scope: "row", textContent: model }),
    ...COUNTS.map((count) => make("td", { textContent: (sum[count] ?? 0).toLocaleString() })))));
}
