// The timeline of a run: each step is a bar from its start to its end.

import { duration, make, RollingList } from "../dom.js";

const MAX_STEPS = 300;

export class Timeline {
  #empty = make("p", { className: "note", textContent: "The agent has reported no steps." });
  #note = make("p", { className: "note" });
  #list = make("ol", { className: "plain steps" });
  #steps = new RollingList(this.#list, this.#note, MAX_STEPS);
  #startedAt = Infinity; // milliseconds since the epoch, like all times here
  #endsAt = 0;
  #times = new WeakMap(); // the start and end of each bar

  constructor(root) {
    root.append(this.#empty, this.#note, this.#list);
  }

  clear() {
    this.#startedAt = Infinity;
    this.#endsAt = 0;
    this.#times = new WeakMap();
    this.#steps.clear();
    this.#empty.hidden = false;
  }

  add(frames) {
    const events = frames.filter(({ id }) => id !== null);
    const started = events.find(({ event }) => event === "started");
    if (started !== undefined) this.#startedAt = Date.parse(started.data.timestamp);
    const steps = events.filter(({ event }) => event === "step");
    if (steps.length === 0) return;
    this.#empty.hidden = true;
    this.#steps.add(steps.map(({ data }) => data), (step) => this.#row(step));
    for (const item of this.#steps.items) this.#position(item.querySelector(".bar"));
  }

  end() {}

  #row(step) {
    const to = Date.parse(step.timestamp);
    const from = to - (step.duration_ms ?? 0);
    this.#startedAt = Math.min(this.#startedAt, from); // the `started` event may no longer be stored
    this.#endsAt = Math.max(this.#endsAt, to);
    const bar = make("span", { className: "bar" });
    this.#times.set(bar, { from, to });
    const keys = [step.input_keys, step.output_keys].map((names) => (names ?? []).join(", "));
    return make("li", {},
      make("span", { className: "name", textContent: [step.source, step.node_name].filter(Boolean).join(": ") }),
      make("span", { className: "duration", textContent: step.duration_ms === null ? "" : duration(step.duration_ms) }),
      make("span", { className: "track", ariaHidden: "true" }, bar),
      make("span", { className: "note", textContent: keys.some(Boolean) ? keys.join(" → ") : "" }));
  }

  #position(bar) {
    const { from, to } = this.#times.get(bar);
    const percent = (milliseconds) => `${(100 * milliseconds) / Math.max(this.#endsAt - this.#startedAt, 1)}%`;
    bar.style.setProperty("inset-inline-start", percent(from - this.#startedAt));
    bar.style.setProperty("inline-size", percent(to - from));
  }
}
