// The display of a run. Frames that arrive are drawn in the next animation frame, however many there are; the
// stream is read no faster than they are drawn.

import { clockOffset } from "./api.js";
import { byId, collapsible, displayText, duration, make, RollingList } from "./dom.js";
import * as frames from "./frames/frames.js";
import * as questions from "./conversation/questions.js";
import * as recent from "./runs/recent.js";
import * as timeline from "./timeline/timeline.js";
import * as transcript from "./conversation/transcript.js";
import * as usage from "./timeline/usage.js";

const MAX_BATCH = 2000; // frames drawn in one animation frame
const MAX_PENDING = 4 * 1024 * 1024; // characters that are not drawn yet, before reading waits
const MAX_EVENTS = 200;
const MAX_BARS = 50;
const TICK = 200; // milliseconds
const NONE = "–";

/** The text for a finished run, by its status. */
export const ENDS = { completed: "Complete", failed: "Failed", cancelled: "Cancelled" };

const eventsPart = byId("events");
const events = new RollingList(eventsPart.querySelector("ol"), eventsPart.querySelector(".note"), MAX_EVENTS);
const bars = new Map(); // a progress bar for each step

let pending = []; // frames received and not yet drawn
let pendingSize = 0; // characters
let scheduled = false;
let caughtUp = Promise.withResolvers();
let liveFrom = 0; // earlier events are a replay, whose latency means nothing
let startedAt = null;
let ticker = null;
let over = false;

/** Clear the display; `text` is the new status. */
export function clear(text, kind = "working") {
  pending = [];
  pendingSize = 0;
  caughtUp.resolve();
  liveFrom = 0;
  startedAt = null;
  over = false;
  bars.clear();
  byId("progress").querySelector("ul").replaceChildren();
  events.clear();
  for (const part of [timeline, transcript, usage, questions, frames]) part.clear();
  for (const id of ["facts", "gap", "progress", "events", "outcome"]) byId(id).hidden = true;
  for (const fact of byId("facts").querySelectorAll("dd")) fact.textContent = NONE;
  clearInterval(ticker);
  state(kind, text);
  connection("", "");
}

/** Show the run's id. */
export function name(runId) {
  byId("facts").hidden = false;
  byId("run-id").textContent = runId;
}

/** Show the run's status. */
export function state(kind, text) {
  byId("status").className = kind;
  byId("status").textContent = text;
}

/** Show the state of the connection, and a note among the frames if there is one. */
export function connection(kind, text, note) {
  byId("connection").className = kind;
  byId("connection").textContent = text;
  if (note !== undefined) receive({ note });
}

/** Treat events up to now as a replay. */
export function replay() {
  liveFrom = Date.now() + clockOffset();
}

/** Queue a frame of the stream to be drawn. */
export function receive(frame) {
  frame.receivedAt = Date.now() + clockOffset();
  pending.push(frame);
  pendingSize += frame.raw?.length ?? 0;
  schedule();
}

/** Wait while much is pending. A page that is hidden has no animation frames: it draws now. */
export function catchUp() {
  if (document.hidden) drawAll();
  return isBehind() ? caughtUp.promise : undefined;
}

/** Draw what is pending, then show that the run is over. */
export function finish(kind, text) {
  drawAll();
  end(kind, text);
}

/** Show what the run's record says about its open questions: the oldest one, or null. */
export function showWaiting(oldest) {
  if (over) return;
  questions.showOldest(oldest);
  showWorking();
}

/** Show the run's output or error, and the service's sums of usage, if there are any. */
export function outcome(title, value, sums) {
  usage.showTotal(sums);
  byId("outcome").hidden = false;
  byId("outcome-title").textContent = title;
  byId("outcome").querySelector("pre").textContent = displayText(value);
}

document.addEventListener("visibilitychange", catchUp);

function isBehind() {
  return pending.length > MAX_BATCH || pendingSize > MAX_PENDING;
}

function schedule() {
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(() => {
    scheduled = false;
    if (pending.length > 0) draw();
    if (pending.length > 0) schedule();
  });
}

function drawAll() {
  while (pending.length > 0) draw();
}

function draw() {
  const batch = pending.splice(0, MAX_BATCH);
  for (const { raw } of batch) pendingSize -= raw?.length ?? 0;
  if (!isBehind()) {
    caughtUp.resolve();
    caughtUp = Promise.withResolvers();
  }
  const of = (...types) => batch.filter(({ id, event }) => id !== null && types.includes(event)).map(({ data }) => data);

  frames.add(batch);
  of("started").forEach(start);
  const sequences = batch.filter(({ id }) => Number.isInteger(id));
  if (sequences.length > 0) measure(sequences.at(-1));
  showFirstToken(of("token"));
  transcript.add(sequences.map(({ data }) => data));
  showQuestions(of("input_requested", "input_received"));
  usage.add(of("usage"));
  of("progress").forEach(progress);
  timeline.add(of("step"), startedAt);
  addEvents(batch.filter(({ event }) => event === "checkpoint" || event?.startsWith("custom:")));
  batch.filter(({ event }) => event === "gap").forEach(showGap);
  of("complete", "error", "cancelled").forEach(showOutcome);
}

function start(started) {
  startedAt = Date.parse(started.timestamp);
  showWorking();
  tick();
  ticker = setInterval(tick, TICK);
}

function showWorking() {
  const [kind, text] = questions.isWaiting() ? ["waiting", "Waiting for an answer"] : ["working", "Running"];
  if (byId("status").textContent === text) return;
  state(kind, text);
  recent.showState(questions.isWaiting() ? "waiting" : "running");
}

function tick() {
  questions.expire();
  showWorking();
  byId("time").textContent = duration(Math.max(Date.now() + clockOffset() - startedAt, 0));
}

function measure({ id, data, receivedAt }) {
  byId("sequence").textContent = id;
  const sentAt = Date.parse(data.timestamp);
  if (sentAt < liveFrom) return;
  byId("latency").textContent = duration(Math.max(receivedAt - sentAt, 0));
}

function showFirstToken([first]) {
  const fact = byId("first-token");
  if (first === undefined || startedAt === null || fact.textContent !== NONE) return;
  fact.textContent = duration(Date.parse(first.timestamp) - startedAt);
}

function showQuestions(events) {
  for (const event of events) {
    if (event.type === "input_received") questions.close(event.request_id);
    else questions.ask(event);
  }
  if (events.length > 0) showWorking();
}

function progress({ step, progress, message }) {
  byId("progress").hidden = false;
  const bar = bars.get(step) ?? newBar(step);
  bar.meter.value = progress;
  bar.text.textContent = [`${Math.floor(progress * 100)} %`, message].filter(Boolean).join(", ");
}

function newBar(step) {
  const bar = { meter: make("progress", { max: 1, ariaLabel: step }), text: make("span", { className: "note" }) };
  bar.item = make("li", {}, make("span", { className: "name", textContent: step }), bar.text, bar.meter);
  byId("progress").querySelector("ul").append(bar.item);
  bars.set(step, bar);
  if (bars.size > MAX_BARS) {
    const [[oldest, { item }]] = bars;
    bars.delete(oldest);
    item.remove();
  }
  return bar;
}

function addEvents(batch) {
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
    return make("li", {}, collapsible(summary, () => displayText(isCheckpoint ? own.data : own)));
  });
}

function showGap({ data }) {
  byId("gap").hidden = false;
  byId("gap").textContent =
    data.first_available < data.requested
      ? "Another run has this id by now; its events follow."
      : `Events ${data.requested} to ${data.first_available - 1} are no longer stored; the display continues at ${data.first_available}.`;
}

function showOutcome(last) {
  if (last.type === "complete") {
    end("completed", ENDS.completed);
    outcome("Output", last.output, last.metadata.usage);
  } else if (last.type === "error") {
    end("failed", `${ENDS.failed}: ${last.code}`);
    outcome("Error", last.details == null ? last.error : `${last.error}\n${displayText(last.details)}`);
  } else {
    end("cancelled", last.reason ? `${ENDS.cancelled}: ${last.reason}` : ENDS.cancelled);
  }
  if (startedAt !== null) byId("time").textContent = duration(Date.parse(last.timestamp) - startedAt);
}

function end(kind, text) {
  over = true;
  clearInterval(ticker);
  questions.clear();
  transcript.end();
  state(kind, text);
  recent.showState(kind);
}
