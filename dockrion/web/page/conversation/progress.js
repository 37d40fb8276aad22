// A progress bar for each step that reports one, until the run is complete: then its answer says more.

import { byId, make } from "../dom.js";

const MAX_BARS = 50;
const MAX_TEXT = 1000; // characters
const part = byId("progress");
const list = part.querySelector("ul");
const bars = new Map(); // by step

export function clear() {
  bars.clear();
  list.replaceChildren();
  part.hidden = true;
}

export function add(frames) {
  const latest = new Map(); // by step
  for (const { id, event, data } of frames) {
    if (id !== null && event === "progress") latest.set(data.step, data);
  }
  for (const data of [...latest.values()].slice(-MAX_BARS)) show(data);
}

export function end(status) {
  if (status === "completed") part.hidden = true;
}

function show({ step, progress, message }) {
  part.hidden = false;
  const bar = bars.get(step) ?? newBar(step);
  bar.meter.value = progress;
  bar.text.textContent = [`${Math.floor(progress * 100)} %`, message].filter(Boolean).join(", ").slice(0, MAX_TEXT);
}

function newBar(step) {
  const name = step.slice(0, MAX_TEXT);
  const bar = { meter: make("progress", { max: 1, ariaLabel: name }), text: make("span", { className: "note" }) };
  bar.item = make("li", {}, make("span", { className: "name", textContent: name }), bar.text, bar.meter);
  list.append(bar.item);
  bars.set(step, bar);
  if (bars.size > MAX_BARS) {
    const [[oldest, { item }]] = bars;
    bars.delete(oldest);
    item.remove();
  }
  return bar;
}
