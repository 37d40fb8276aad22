// The checkpoints and custom events of a run.

import { byId, collapsible, displayText, make, RollingList } from "../dom.js";

const MAX_EVENTS = 200;
const part = byId("events");
const list = new RollingList(part.querySelector("ol"), part.querySelector(".note"), MAX_EVENTS);

export function clear() {
  list.clear();
  part.hidden = true;
}

export function add(frames) {
  const shown = frames.filter(({ event }) => event === "checkpoint" || event?.startsWith("custom:"));
  if (shown.length === 0) return;
  part.hidden = false;
  list.add(shown, row);
}

export function end() {}

function row({ id, event, data }) {
  const { id: _id, type, run_id, sequence, timestamp, ...own } = data;
  const isCheckpoint = event === "checkpoint";
  const summary = [
    make("span", { className: "sequence", textContent: id }),
    make("span", { className: "type", textContent: isCheckpoint ? "checkpoint" : event.slice("custom:".length) }),
    make("span", { className: "line", textContent: isCheckpoint ? own.name : "" }),
  ];
  return make("li", {}, collapsible(summary, () => displayText(isCheckpoint ? own.data : own)));
}
