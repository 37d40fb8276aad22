// The steps of a run, each a bar from when it began to when it was over.

import { byId, make, Recent, seconds } from "./dom.js";

const MOST = 300;
const part = byId("steps");
const shownSteps = new Recent(part.querySelector("ol"), part.querySelector(".note"), MOST);

let began = 0; // milliseconds since the epoch, as the rest
let until = 0;
let times = new WeakMap(); // of each bar: from and to

export function clear() {
  began = until = 0;
  times = new WeakMap();
  shownSteps.clear();
  part.hidden = true;
}

/** Add `step` events; `start` is when the run began. */
export function add(steps, start) {
  if (steps.length === 0) return;
  began ||= start ?? Infinity; // the beginning may be no longer stored
  part.hidden = false;
  shownSteps.add(steps, row);
  for (const item of shownSteps.items) place(item.querySelector(".bar"));
}

function row(step) {
  const to = Date.parse(step.timestamp);
  const from = to - (step.duration_ms ?? 0);
  began = Math.min(began, from);
  until = Math.max(until, to);
  const bar = make("span", { className: "bar" });
  times.set(bar, { from, to });
  const keys = [step.input_keys, step.output_keys].map((names) => (names ?? []).join(", "));
  return make("li", {},
    make("span", { className: "name", textContent: step.node_name }),
    make("span", { className: "duration", textContent: step.duration_ms === null ? "" : seconds(step.duration_ms) }),
    make("span", { className: "track", ariaHidden: "true" }, bar),
    make("span", { className: "note", textContent: keys.some(Boolean) ? keys.join(" → ") : "" }));
}

function place(bar) {
  const { from, to } = times.get(bar);
  const percent = (milliseconds) => `${(100 * milliseconds) / Math.max(until - began, 1)}%`;
  bar.style.setProperty("inset-inline-start", percent(from - began));
  bar.style.setProperty("inline-size", percent(to - from));
}
