// The timeline of a run: each step is a bar from its start to its end.

import { byId, duration, make, RollingList } from "../dom.js";

const MAX_STEPS = 300;
const part = byId("steps");
const shownSteps = new RollingList(part.querySelector("ol"), part.querySelector(".note"), MAX_STEPS);

let startedAt = 0; // milliseconds since the epoch, like all times here
let endsAt = 0;
let times = new WeakMap(); // the start and end of each bar

export function clear() {
  startedAt = endsAt = 0;
  times = new WeakMap();
  shownSteps.clear();
  part.hidden = true;
}

/** Add `step` events; `start` is the time when the run started. */
export function add(steps, start) {
  if (steps.length === 0) return;
  startedAt ||= start ?? Infinity; // the `started` event may no longer be stored
  part.hidden = false;
  shownSteps.add(steps, row);
  for (const item of shownSteps.items) position(item.querySelector(".bar"));
}

function row(step) {
  const to = Date.parse(step.timestamp);
  const from = to - (step.duration_ms ?? 0);
  startedAt = Math.min(startedAt, from);
  endsAt = Math.max(endsAt, to);
  const bar = make("span", { className: "bar" });
  times.set(bar, { from, to });
  const keys = [step.input_keys, step.output_keys].map((names) => (names ?? []).join(", "));
  return make("li", {},
    make("span", { className: "name", textContent: [step.source, step.node_name].filter(Boolean).join(": ") }),
    make("span", { className: "duration", textContent: step.duration_ms === null ? "" : duration(step.duration_ms) }),
    make("span", { className: "track", ariaHidden: "true" }, bar),
    make("span", { className: "note", textContent: keys.some(Boolean) ? keys.join(" → ") : "" }));
}

function position(bar) {
  const { from, to } = times.get(bar);
  const percent = (milliseconds) => `${(100 * milliseconds) / Math.max(endsAt - startedAt, 1)}%`;
  bar.style.setProperty("inset-inline-start", percent(from - startedAt));
  bar.style.setProperty("inline-size", percent(to - from));
}
