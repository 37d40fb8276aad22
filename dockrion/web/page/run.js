// A run as it is seen. What is heard is drawn in the next animation frame, however much it is.

import { clockAhead } from "./api.js";
import { atItsEnd, byId, make, Recent, seconds, shown, unfolding } from "./dom.js";
import * as frames from "./frames.js";
import * as timeline from "./timeline.js";

const MOST_AT_ONCE = 2000; // frames drawn in one animation frame
const MOST_EVENTS = 200;
const MOST_BARS = 50;
const TICK = 200; // milliseconds

/** How a run that is over is called, by its status. */
export const ENDS = { completed: "Complete", failed: "Failed", cancelled: "Cancelled" };

const eventsPart = byId("events");
const events = new Recent(eventsPart.querySelector("ol"), eventsPart.querySelector(".note"), MOST_EVENTS);
const bars = new Map(); // a progress bar for each step

let waiting = []; // frames heard and not yet drawn
let drawing = false;
let liveFrom = 0; // what happened before is a replay
let began = null;
let ticking = null;

/** Begin with nothing; `text` says what is being done. */
export function begin(text, kind = "working") {
  waiting = [];
  liveFrom = 0;
  began = null;
  bars.clear();
  byId("progress").querySelector("ul").replaceChildren();
  byId("words").replaceChildren();
  events.clear();
  timeline.clear();
  frames.clear();
  for (const id of ["facts", "gap", "progress", "text", "events", "outcome"]) byId(id).hidden = true;
  for (const fact of byId("facts").querySelectorAll("dd")) fact.textContent = "–";
  clearInterval(ticking);
  state(kind, text);
  connection("", "");
}

/** Say which run this is. */
export function name(runId) {
  byId("facts").hidden = false;
  byId("run-id").textContent = runId;
}

/** Say how the run is. */
export function state(kind, text) {
  byId("status").className = kind;
  byId("status").textContent = text;
}

/** Say how the connection is, and beside the frames, when that matters. */
export function connection(kind, text, said) {
  byId("connection").className = kind;
  byId("connection").textContent = text;
  if (said !== undefined) hear({ said });
}

/** Take what happened until now for a replay, which is not late. */
export function replay() {
  liveFrom = Date.now() + clockAhead();
}

/** Take a frame of the stream. */
export function hear(frame) {
  waiting.push({ ...frame, heard: Date.now() + clockAhead() });
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(draw);
}

/** Say that the run is over, after all that was heard of it. */
export function over(kind, text) {
  while (waiting.length > 0) draw();
  end(kind, text);
}

/** Show what came of it. */
export function outcome(title, value) {
  byId("outcome").hidden = false;
  byId("outcome-title").textContent = title;
  byId("outcome").querySelector("pre").textContent = shown(value);
}

function draw() {
  const batch = waiting.splice(0, MOST_AT_ONCE);
  drawing = waiting.length > 0;
  if (drawing) requestAnimationFrame(draw);
  const of = (...types) => batch.filter(({ id, event }) => id !== null && types.includes(event)).map(({ data }) => data);

  frames.add(batch);
  of("started").forEach(start);
  const sequences = batch.filter(({ id }) => Number.isInteger(id));
  if (sequences.length > 0) measure(sequences.at(-1));
  write(of("token"));
  of("progress").forEach(progress);
  timeline.add(of("step"), began);
  unfold(batch.filter(({ event }) => event === "checkpoint" || event?.startsWith("custom:")));
  batch.filter(({ event }) => event === "gap").forEach(lost);
  of("complete", "error", "cancelled").forEach(finish);
}

function start(started) {
  began = Date.parse(started.timestamp);
  state("working", "Running");
  tick();
  ticking = setInterval(tick, TICK);
}

function tick() {
  byId("time").textContent = seconds(Math.max(Date.now() + clockAhead() - began, 0));
}

function measure({ id, data, heard }) {
  byId("sequence").textContent = id;
  const sent = Date.parse(data.timestamp);
  if (sent < liveFrom) return;
  byId("latency").textContent = seconds(Math.max(heard - sent, 0));
}

function write(tokens) {
  if (tokens.length === 0) return;
  const words = byId("words");
  if (byId("text").hidden) {
    byId("text").hidden = false;
    byId("first-token").textContent = began === null ? "–" : seconds(Date.parse(tokens[0].timestamp) - began);
  }
  atItsEnd(words, () => words.append(tokens.map(({ content }) => content).join("")));
}

function progress({ step, progress, message }) {
  byId("progress").hidden = false;
  const bar = bars.get(step) ?? newBar(step);
  bar.meter.value = progress;
  bar.said.textContent = [`${Math.floor(progress * 100)} %`, message].filter(Boolean).join(", ");
}

function newBar(step) {
  const bar = { meter: make("progress", { max: 1, ariaLabel: step }), said: make("span", { className: "note" }) };
  bar.item = make("li", {}, make("span", { className: "name", textContent: step }), bar.said, bar.meter);
  byId("progress").querySelector("ul").append(bar.item);
  bars.set(step, bar);
  if (bars.size > MOST_BARS) {
    const [[oldest, { item }]] = bars;
    bars.delete(oldest);
    item.remove();
  }
  return bar;
}

function unfold(batch) {
  if (batch.length === 0) return;
  eventsPart.hidden = false;
  events.add(batch, ({ id, event, data }) => {
    const { id: _id, type, run_id, sequence, timestamp, ...own } = data;
    const isCheckpoint = event === "checkpoint";
    const summary = [
      make("span", { className: "sequence", textContent: id }),
      make("span", { className: "type", textContent: isCheckpoint ? "checkpoint" : event.slice("custom:".length) }),
      make("span", { className: "line", textContent: isCheckpoint ? own.name : "" }),
    ];
    return make("li", {}, unfolding(summary, () => shown(isCheckpoint ? own.data : own)));
  });
}

function lost({ data }) {
  byId("gap").hidden = false;
  byId("gap").textContent =
    `Events ${data.requested} to ${data.first_available - 1} are no longer stored; what is shown goes on at ${data.first_available}.`;
}

function finish(last) {
  if (last.type === "complete") {
    end("completed", ENDS.completed);
    outcome("Output", last.output);
  } else if (last.type === "error") {
    end("failed", `${ENDS.failed}: ${last.code}`);
    outcome("Error", last.details == null ? last.error : `${last.error}\n${shown(last.details)}`);
  } else {
    end("cancelled", last.reason ? `${ENDS.cancelled}: ${last.reason}` : ENDS.cancelled);
  }
  if (began !== null) byId("time").textContent = seconds(Date.parse(last.timestamp) - began);
}

function end(kind, text) {
  clearInterval(ticking);
  state(kind, text);
}
