// The list of the stream's raw frames.

import { byId, collapsible, keepAtEnd, make, RollingList } from "../dom.js";

const MAX_FRAMES = 500;
const MAX_LINE = 200; // characters
const scroller = byId("frames").querySelector(".scroll");
const shownFrames = new RollingList(scroller.querySelector("ol"), byId("frames").querySelector(".count"), MAX_FRAMES);

export function clear() {
  shownFrames.clear();
}

export function add(batch) {
  keepAtEnd(scroller, () => shownFrames.add(batch, row));
}

export function end() {}

function row(frame) {
  if (frame.note !== undefined) return make("li", { className: "connection-note", textContent: frame.note });
  const summary = [
    make("span", { className: "sequence", textContent: frame.id ?? "–" }),
    make("span", { className: "type", textContent: frame.event }),
    make("span", { className: "line", textContent: line(frame) }),
  ];
  return make("li", {}, collapsible(summary, () => frame.raw));
}

function line(frame) {
  const { id, type, run_id, sequence, timestamp, ...own } = frame.data;
  return JSON.stringify(own).slice(0, MAX_LINE);
}
