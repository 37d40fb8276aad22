// The numbers of a run at a glance.

import { clockOffset } from "../api.js";
import { byId, duration } from "../dom.js";

const NONE = "–";
const TERMINAL = new Set(["complete", "error", "cancelled"]);
const part = byId("totals");

let liveFrom = 0; // earlier events are a replay, whose latency means nothing
let startedAt = null;

export function clear() {
  liveFrom = 0;
  startedAt = null;
  part.hidden = true;
  for (const fact of part.querySelectorAll("dd")) fact.textContent = NONE;
}

/** Treat events up to now as a replay. */
export function replay() {
  liveFrom = Date.now() + clockOffset();
}

export function add(frames) {
  const events = frames.filter(({ id }) => id !== null);
  for (const { event, data } of events) {
    if (event === "started") startedAt = Date.parse(data.timestamp);
    if (event === "token") showFirstToken(data);
    if (TERMINAL.has(event)) showTime(Date.parse(data.timestamp));
  }
  if (events.length > 0) measure(events.at(-1));
}

/** Show how long the run has taken up to now. */
export function tick() {
  showTime(Date.now() + clockOffset());
}

export function end() {}

function showTime(now) {
  if (startedAt !== null) byId("time").textContent = duration(Math.max(now - startedAt, 0));
}

function measure({ id, data, receivedAt }) {
  byId("sequence").textContent = id;
  const sentAt = Date.parse(data.timestamp);
  if (sentAt < liveFrom) return;
  byId("latency").textContent = duration(Math.max(receivedAt - sentAt, 0));
}

function showFirstToken({ timestamp }) {
  const fact = byId("first-token");
  if (startedAt === null || fact.textContent !== NONE) return;
  fact.textContent = duration(Date.parse(timestamp) - startedAt);
}
