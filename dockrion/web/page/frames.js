// The raw frames of the stream, beside what is made of them.

import { atItsEnd, byId, make, Recent, unfolding } from "./dom.js";

const MOST = 500;
const MOST_IN_LINE = 200; // characters
const place = byId("frames").querySelector(".scroll");
const shownFrames = new Recent(place.querySelector("ol"), byId("frames").querySelector(".count"), MOST);

export function clear() {
  shownFrames.clear();
}

/** Add frames, and in their place what happened to the connection: `{said}`. */
export function add(batch) {
  atItsEnd(place, () => shownFrames.add(batch, row));
}

function row(frame) {
  if (frame.said !== undefined) return make("li", { className: "said", textContent: frame.said });
  const summary = [
    make("span", { className: "sequence", textContent: frame.id ?? "–" }),
    make("span", { className: "type", textContent: frame.event ?? "" }),
    make("span", { className: "line", textContent: line(frame) }),
  ];
  return make("li", {}, unfolding(summary, () => frame.raw));
}

function line(frame) {
  if (frame.event === null) return frame.raw.slice(0, MOST_IN_LINE);
  const { id, type, run_id, sequence, timestamp, ...own } = frame.data ?? {};
  return JSON.stringify(own).slice(0, MOST_IN_LINE);
}
