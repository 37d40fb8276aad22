// A progress bar for each step that reports one.

import { byId, make } from "../dom.js";

const MAX_BARS = 50;
const part = byId("progress");
const list = part.querySelector("ul");
const bars = new Map(); // by step

export function clear() {
  bars.clear();
  list.replaceChildren();
  part.hidden = true;
}

export function add(frames) {
  for (const { id, event, data } of frames) {
    if (id !== null && event === "progress") show(data);
  }
}

export function end() {}

function show({ step, progress, message }) {
  part.hidden = false;
  const bar = bars.get(step) ?? newBar(step);
  bar.meter.value = progress;
  bar.text.textContent = [`${Math.floor(progress * 100)} %`, message].filter(Boolean).join(", ");
}

function newBar(step) {
  const bar = { meter: make("progress", { max: 1, ariaLabel: step }), text: make("span", { className: "note" }) };
  bar.item = make("li", {}, make("span", { className: "name", textContent: step }), bar.text, bar.meter);
  list.append(bar.item);
  bars.set(step, bar);
  if (bars.size > MAX_BARS) {
    const [[oldest, { item }]] = bars;
    bars.delete(oldest);
    item.remove();
  }
  return bar;
}
