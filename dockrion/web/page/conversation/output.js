// What a run returns: its output, or its error.

import { byId, displayText } from "../dom.js";

const part = byId("outcome");

export function clear() {
  part.hidden = true;
}

export function add(frames) {
  for (const { id, event, data } of frames) {
    if (id === null) continue;
    if (event === "complete") show("Output", data.output);
    if (event === "error") show("Error", data.details == null ? data.error : `${data.error}\n${displayText(data.details)}`);
  }
}

export function end() {}

export function show(title, value) {
  part.hidden = false;
  byId("outcome-title").textContent = title;
  part.querySelector("pre").textContent = displayText(value);
}
