// The numbers of a run at a glance.

import { clockOffset } from "../api.js";
import { byId, duration } from "../dom.js";
import { Tally } from "./tally.js";

const MAX_LATENCIES = 60;
const part = byId("totals");
const line = byId("latency-line");

let tally = new Tally();
let clickedAt = null;
let liveFrom = 0; // earlier events are a replay, whose latency means nothing
let latencies = []; // milliseconds, the longest of each drawing

export function clear() {
  tally = new Tally();
  clickedAt = null;
  liveFrom = 0;
  latencies = [];
  line.ariaLabel = null;
  part.hidden = true;
  show();
}

/** Set when the user asked for the run, by the service's clock. */
export function clicked(time) {
  clickedAt = time;
}

/** Set when the run was created, in milliseconds since the epoch. */
export function created(time) {
  tally.createdAt = time;
  show();
}

/** Treat events up to now as a replay. */
export function replay() {
  liveFrom = Date.now() + clockOffset();
}

export function add(frames) {
  tally.add(frames);
  measure(frames.filter(({ id }) => Number.isInteger(id)));
  show();
}

/** Show how long the run has taken up to now. */
export function tick() {
  show();
}

export function end() {
  show();
}

/** Show the service's own sums of usage, if there are any. */
export function showUsage(usage) {
  tally.replaceUsage(usage);
  show();
}

/** Return the texts of a tally: how long the run took, how soon it wrote, how fast, and how much. */
export function texts(counted, { now = counted.endedAt, from = null } = {}) {
  const { firstToken, speed, total, createdAt, startedAt } = counted;
  const time = counted.duration(now);
  const waited = from !== null ? firstToken?.receivedAt - from : firstToken?.sentAt - (createdAt ?? startedAt ?? NaN);
  return {
    time: time === null ? "" : duration(time),
    firstToken: Number.isFinite(waited) ? duration(Math.max(waited, 0)) : "",
    speed: speed === null ? "" : `${speed.number.toLocaleString(undefined, { maximumFractionDigits: speed.number < 10 ? 1 : 0 })} ${speed.unit}`,
    tokens: counted.usage.size === 0 ? "" : `${total.input_tokens.toLocaleString()} in, ${total.output_tokens.toLocaleString()} out`,
  };
}

function show() {
  const now = Date.now() + clockOffset();
  const { time, firstToken, speed, tokens } = texts(tally, { now, from: clickedAt });
  const latest = latencies.at(-1);
  const facts = { sequence: tally.last ?? "", time, "first-token": firstToken, speed, tokens, latency: latest === undefined ? "" : duration(latest) };
  for (const [id, text] of Object.entries(facts)) {
    const fact = byId(id);
    fact.textContent = text;
    fact.closest("div").hidden = text === "";
  }
  byId("first-token").closest("div").title = clickedAt === null ? "From the creation of the run" : "From the click to its arrival here";
}

function measure(events) {
  const delays = events.map(({ data, receivedAt }) => [Date.parse(data.timestamp), receivedAt])
    .filter(([sentAt]) => sentAt >= liveFrom).map(([sentAt, receivedAt]) => Math.max(receivedAt - sentAt, 0));
  if (delays.length === 0) return;
  latencies.push(Math.max(...delays));
  latencies = latencies.slice(-MAX_LATENCIES);
  drawLine();
}

function drawLine() {
  const highest = Math.max(...latencies, 1);
  const at = (index) => (100 * index) / Math.max(latencies.length - 1, 1);
  const tops = latencies.map((latency, index) => `${at(index)}% ${90 - (90 * latency) / highest}%`);
  line.style.clipPath = `polygon(0 100%, ${tops.join(", ")}, 100% 100%)`;
  line.ariaLabel = `The last ${latencies.length}: ${duration(Math.min(...latencies))} to ${duration(highest)}`;
  line.title = line.ariaLabel;
}
