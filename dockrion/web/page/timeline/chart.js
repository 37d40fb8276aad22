// Draws a trace: an axis, a row for each source, and in it elements for the bars and marks in sight.
// What cannot be told apart at the present zoom has one element, so that a long run has no more than a short one.

import { duration, make } from "../dom.js";
import { divide, shapes, tickLabel, ticks } from "./layout.js";
import { LANES } from "./sources.js";
import { KINDS } from "./trace.js";

const LANE = matchMedia("(pointer: coarse)").matches ? 28 : 20; // pixels
const NARROWEST_BAR = 3;
const MARK = 12;
const NAMED = 36; // the narrowest bar that has its name in it
const TICK = 90;
const CHARACTER = 7; // of the axis, about
const TOGETHER = 56; // what cannot be told apart is drawn in bars of this width
const MAX_SHAPES = 1000; // over all lanes in sight, about

/** Return what an item or several together are called. */
export function nameOf({ items }) {
  if (items.length === 1) return items[0].name;
  const kinds = new Set(items.map(({ kind }) => KINDS[kind].title.toLowerCase()));
  const [kind] = kinds;
  return `${items.length.toLocaleString()} ${kinds.size > 1 ? "items" : kind === "text" || kind === "reasoning" ? `${kind} bars` : `${kind}s`}`;
}

export class Chart {
  #rows = new Map(); // by row: its elements, its lanes, and what is drawn in it
  #active = null; // the item that the keyboard is at
  #axis = make("div", { className: "axis", ariaHidden: "true" });
  #lines = make("div", { className: "lines", ariaHidden: "true" });
  #range = make("div", { className: "range", hidden: true });
  #origin = 0;
  #rowgroup = make("div", { role: "rowgroup" });

  #selected = null; // an item

  constructor(label) {
    const sheet = make("div", { className: "sheet" }, this.#lines, this.#axis, this.#rowgroup,
      make("div", { className: "ranges", ariaHidden: "true" }, this.#range));
    this.element = make("div", { className: "chart", role: "grid", ariaLabel: label, tabIndex: 0 }, sheet);
    this.element.setAttribute("aria-description",
      "Arrow keys move, Enter shows details, plus and minus zoom, Shift with an arrow key moves through the time, 0 shows the whole run.");
  }

  /** The width of the time axis in pixels. */
  get width() {
    return this.#axis.clientWidth;
  }

  /** What is drawn, by row from the top. */
  get drawn() {
    return [...this.#rows.values()].map((row) => row.shapes).filter((row) => row.length > 0);
  }

  /** What the keyboard is at, or null. */
  get active() {
    return this.drawn.flat().find(({ items }) => items.includes(this.#active)) ?? null;
  }

  /** The middle of what the keyboard is at, in milliseconds since the beginning, or null. */
  get activeTime() {
    const { active } = this;
    return active === null ? null : (active.from + active.to) / 2 - this.#origin;
  }

  clear() {
    this.#rows.clear();
    this.#active = this.#selected = null;
    this.element.tabIndex = 0;
    for (const part of [this.#axis, this.#lines, this.#rowgroup]) part.replaceChildren();
  }

  /** Return which part of the width is before a horizontal position in the window. */
  partAt(x) {
    const { left, width } = this.#axis.getBoundingClientRect();
    return Math.min(Math.max((x - left) / width, 0), 1);
  }

  /** Mark a range, from one part of the width to another; null for none. */
  showRange(range) {
    this.#range.hidden = range === null;
    if (range === null) return;
    this.#range.style.left = `${range[0] * 100}%`;
    this.#range.style.width = `${(range[1] - range[0]) * 100}%`;
  }

  shapeOf(element) {
    return this.drawn.flat().find((shape) => shape.element === element) ?? null;
  }

  /** Let the keyboard go on from a shape. */
  activate(shape) {
    this.active?.element.setAttribute("tabindex", "-1");
    this.#active = shape.items[0];
    this.element.tabIndex = -1;
    shape.element.tabIndex = 0;
    shape.element.focus();
    shape.element.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  /** Draw the rows of a trace from one time to another; `now` is the end of what is open. */
  draw(rows, { origin, from, to, now }) {
    const { width } = this;
    this.#origin = origin;
    this.#drawAxis(from - origin, to - origin, width);
    const drawn = rows.map((row) => this.#layOut(row));
    if (drawn.some(({ element }, index) => this.#rowgroup.children[index] !== element)) {
      this.#rowgroup.replaceChildren(...drawn.map(({ element }) => element));
    }
    const inSight = this.#inSight(drawn);
    for (const row of drawn) {
      if (!inSight.includes(row) && !row.element.contains(document.activeElement)) this.#place(row, []);
    }
    const lanes = inSight.reduce((sum, row) => sum + row.lanes.length, 0);
    const pixel = (to - from) / width;
    const narrowest = Math.max(NARROWEST_BAR, (width * lanes) / MAX_SHAPES);
    const bars = { from, to, now, least: pixel * narrowest, most: pixel * TOGETHER };
    const marks = { ...bars, from: from - MARK * pixel, least: pixel * Math.max(MARK, narrowest) };
    for (const row of inSight) {
      const drawnLanes = row.lanes.map(({ name, items }) => shapes(items, name === "mark" ? marks : bars));
      this.#place(row, drawnLanes.flatMap((lane, top) => lane.map((shape) => ({ ...shape, top }))), { origin, from, pixel, width });
    }
  }

  select(item) {
    this.#selected = item;
    for (const { element, items } of this.drawn.flat()) element.ariaSelected = String(items.includes(item));
  }

  #inSight(rows) {
    const { scrollTop, clientHeight } = this.element;
    return rows.filter(({ element }) => element.offsetTop + element.offsetHeight >= scrollTop && element.offsetTop <= scrollTop + clientHeight);
  }

  #drawAxis(from, to, width) {
    const { times, step } = ticks(from, to, Math.max(Math.floor(width / TICK), 2));
    const place = (element, time) => {
      element.style.left = `${(100 * (time - from)) / (to - from)}%`;
      return element;
    };
    this.#axis.replaceChildren(...times.map((time) => {
      const label = tickLabel(time, step);
      const isCut = (width * (to - time)) / (to - from) < label.length * CHARACTER;
      return place(make("span", { textContent: label, className: isCut ? "before" : "" }), time);
    }));
    this.#lines.replaceChildren(...times.map((time) => place(make("span"), time)));
  }

  /** Return a row's elements and lanes, which are made again when something has begun or ended in it. */
  #layOut(row) {
    const before = this.#rows.get(row) ?? newRow(row);
    this.#rows.set(row, before);
    if (before.changes === row.changes) return before;
    before.changes = row.changes;
    before.lanes = LANES.flatMap((name) => divide(row.items[name]).map((items) => ({ name, items })));
    before.header.textContent = row.label;
    before.track.style.height = `${Math.max(before.lanes.length, 1) * LANE}px`;
    return before;
  }

  /** Give each shape an element: that of its first item, if there is one. */
  #place(row, drawn, scene) {
    const before = row.elements;
    row.elements = new Map(drawn.map((shape) => [shape.items[0], before.get(shape.items[0]) ?? newShape()]));
    const hadFocus = [...before].find(([item, element]) => element === document.activeElement && !row.elements.has(item));
    for (const [item, element] of before) if (!row.elements.has(item)) element.remove();
    for (const shape of drawn) {
      shape.element = row.elements.get(shape.items[0]);
      this.#dress(shape, scene);
      if (shape.element.parentElement === null) row.track.append(shape.element);
    }
    row.shapes = drawn.sort((one, other) => one.from - other.from || one.top - other.top);
    if (hadFocus) this.#passFocus(row);
  }

  #passFocus(row) {
    const shape = row.shapes.find(({ items }) => items.includes(this.#active));
    if (shape) this.activate(shape);
    else this.element.tabIndex = 0;
  }

  #dress(shape, { origin, from, pixel, width }) {
    const { element, items, top } = shape;
    const [first] = items;
    const isMark = KINDS[first.kind].lanes === "mark";
    const left = Math.max((shape.from - from) / pixel, isMark ? -MARK : 0);
    const right = Math.min((shape.from + shape.width - from) / pixel, isMark ? Infinity : width);
    const kind = items.every((item) => item.kind === first.kind) ? first.kind : "several";
    const isOpen = items.some(({ to }) => to === null);
    const state = items.some(({ failed }) => failed) ? "failed" : isOpen ? "open" : "";
    const name = nameOf(shape);
    const took = shape.to > shape.from ? duration(shape.to - shape.from) : "";
    const label = [name, items.length > 1 ? "" : KINDS[kind].title, state === "open" ? `${took} so far` : took, `at ${duration(shape.from - origin)}`, state === "failed" ? "failed" : ""];
    element.className = `${isMark ? "mark" : "bar"} kind ${kind} ${state}`;
    element.textContent = !isMark && right - left >= NAMED ? name : "";
    element.ariaLabel = element.title = label.filter(Boolean).join(", ");
    element.ariaSelected = String(items.includes(this.#selected));
    element.style.left = `${left}px`;
    element.style.top = `${top * LANE}px`;
    element.style.width = isMark ? "" : `${Math.max(right - left, NARROWEST_BAR)}px`;
  }
}

function newRow(row) {
  const header = make("div", { className: "source", role: "rowheader", title: row.path, ariaLabel: row.path || row.label });
  header.style.setProperty("--depth", row.depth);
  const track = make("div", { className: "track", role: "none" });
  const element = make("div", { className: "row", role: "row" }, header, track);
  return { element, header, track, lanes: [], changes: null, elements: new Map(), shapes: [] };
}

function newShape() {
  return make("div", { role: "gridcell", tabIndex: -1 });
}
