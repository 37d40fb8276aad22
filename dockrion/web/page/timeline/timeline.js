// The timeline of a run: a waterfall, its controls, and the details of what is selected in it.

import { clockOffset } from "../api.js";
import { make } from "../dom.js";
import { Chart } from "./chart.js";
import { Details } from "./details.js";
import { navigate } from "./navigation.js";
import { KINDS, Trace } from "./trace.js";
import { View } from "./view.js";

const ZOOM = 2;
const LIVE = 80; // milliseconds from one drawing of a run that goes on to the next, at least
const SHARE = 4; // a drawing may take a quarter of the time
const STEPS = 1000; // of the slider

export class Timeline {
  #view;
  #trace = new Trace();
  #chart;
  #details;
  #legend = make("ul", { className: "plain legend", ariaLabel: "Kinds of bars and marks" });
  #dropped = make("p", { className: "note", hidden: true });
  #slider = make("input", { className: "pan", type: "range", min: 0, max: STEPS, ariaLabel: "Which part of the run is shown", hidden: true });
  #whole = button("Whole run", "Show the whole run");
  #element = make("div", { className: "timeline" });
  #empty = make("p", { className: "note", textContent: "Steps, tool calls, text and checkpoints appear here, along the time, as the agent works." });
  #zoom = make("div", { className: "zoom", role: "group", ariaLabel: "Zoom" });
  #isOver = false;
  #isScheduled = false;
  #timer = null;
  #cost = 0; // milliseconds of the last drawing

  /** `view` may be shared by several timelines; `showFrame(sequence)` shows a frame, and is null where none are shown. */
  constructor(root, { view = new View(), showFrame = null, label = "Timeline" } = {}) {
    this.#view = view;
    this.#chart = new Chart(label);
    this.#details = new Details({
      showFrame,
      zoomTo: (from, to) => this.#zoomTo(from, to),
      select: (item) => this.#select({ items: [item], from: item.from, to: item.to ?? item.from }),
    });
    const [out, into] = [button("−", "Zoom out"), button("+", "Zoom in")];
    out.addEventListener("click", () => view.zoom(ZOOM));
    into.addEventListener("click", () => view.zoom(1 / ZOOM));
    this.#whole.addEventListener("click", () => view.showAll());
    this.#slider.addEventListener("input", () => this.#slide());
    this.#chart.element.addEventListener("scroll", () => this.#schedule());
    view.addEventListener("change", () => this.#schedule());
    navigate(this.#chart, view, { select: (shape) => this.#select(shape), draw: () => this.#draw() });
    new ResizeObserver(() => this.#schedule()).observe(this.#element);
    this.#zoom.append(out, into, this.#whole);
    this.#element.append(make("div", { className: "head" }, this.#legend, this.#zoom),
      this.#dropped, this.#empty, this.#chart.element, this.#slider, this.#details.element);
    root.replaceChildren(this.#element);
    this.clear();
  }

  clear() {
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#isOver = false;
    this.#trace = new Trace();
    this.#chart.clear();
    this.#details.clear();
    this.#legend.replaceChildren();
    this.#view.reset(this);
    this.#schedule();
  }

  /** Set when the run was created, in milliseconds since the epoch. */
  created(time) {
    this.#trace.created(time);
    this.#schedule();
  }

  add(frames) {
    this.#trace.add(frames);
    this.#scheduleLive();
  }

  /** Show that nothing follows. */
  end() {
    this.#isOver = true;
    this.#schedule();
  }

  #select(shape) {
    this.#chart.select(shape.items[0]);
    this.#details.show(shape, this.#trace.origin);
  }

  #zoomTo(from, to) {
    const { origin } = this.#trace;
    const margin = (to - from) / 10;
    this.#view.show(from - origin - margin, to - origin + margin);
  }

  #slide() {
    const { from, to, end } = this.#view;
    const start = (this.#slider.value / STEPS) * (end - (to - from));
    this.#view.show(start, start + to - from);
  }

  /** Draw in the next animation frame. */
  #schedule() {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    requestAnimationFrame(() => {
      this.#isScheduled = false;
      this.#draw();
    });
  }

  /** Draw soon, but no more often than a run that goes on needs. */
  #scheduleLive() {
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      this.#schedule();
    }, Math.max(LIVE, SHARE * this.#cost));
  }

  #draw() {
    if (this.#element.clientWidth === 0) return; // it is not displayed
    const began = performance.now();
    const { origin, latest, rows, kinds, dropped } = this.#trace;
    const isLive = !this.#isOver && latest !== null;
    const now = isLive ? Math.max(Date.now() + clockOffset(), latest) : latest;
    this.#view.extend(this, latest === null ? 0 : now - origin);
    const { from, to, isWhole, end } = this.#view;
    this.#slider.hidden = this.#whole.disabled = isWhole;
    if (!isWhole) this.#slider.value = (STEPS * from) / (end - (to - from));
    this.#empty.hidden = latest !== null;
    this.#chart.element.hidden = this.#zoom.hidden = latest === null;
    this.#dropped.hidden = dropped === 0;
    this.#dropped.textContent = `The first ${dropped.toLocaleString()} bars and marks are no longer kept.`;
    this.#showKinds(kinds);
    if (latest !== null) this.#chart.draw(rows, { origin, from: from + origin, to: to + origin, now });
    this.#details.update(now);
    this.#cost = performance.now() - began;
    if (isLive) this.#scheduleLive();
  }

  #showKinds(kinds) {
    if (this.#legend.childElementCount === kinds.size) return;
    const shown = Object.entries(KINDS).filter(([kind, { lanes }]) => kinds.has(kind) && kind !== "run");
    this.#legend.replaceChildren(...shown.map(([kind, { title, lanes }]) => make("li", {}, make("span", { className: `${lanes === "mark" ? "mark" : "bar"} kind ${kind}` }), title)));
  }
}

function button(textContent, label) {
  return make("button", { type: "button", className: "quiet", textContent, title: label, ariaLabel: label });
}
