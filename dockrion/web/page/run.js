// The display of a run. Frames that arrive are drawn in the next animation frame, however many there are; the
// stream is read no faster than they are drawn.

import { clockOffset } from "./api.js";
import { byId } from "./dom.js";
import * as conversation from "./conversation/conversation.js";
import * as output from "./conversation/output.js";
import * as progress from "./conversation/progress.js";
import * as questions from "./conversation/questions.js";
import * as transcript from "./conversation/transcript.js";
import * as frames from "./frames/frames.js";
import * as recent from "./runs/recent.js";
import * as status from "./status.js";
import { Timeline } from "./timeline/timeline.js";
import * as totals from "./timeline/totals.js";
import * as usage from "./timeline/usage.js";

const MIN_BATCH = 100; // frames drawn in one animation frame
const MAX_BATCH = 2000;
const DRAWING = 50; // milliseconds that it may take, about
const MAX_PENDING = 4 * 1024 * 1024; // characters that are not drawn yet, before reading waits
const TICK = 200; // milliseconds

/** The text for a finished run, by its status. */
export const ENDS = { completed: "Complete", failed: "Failed", cancelled: "Cancelled" };

/**
 * Each part shows one aspect of the run: `clear()`, `add(frames)` with every frame once and in order, and
 * `end(status)` when nothing follows. A frame is `{id, event, data, raw, receivedAt}`; the id of a control
 * frame is null, and a note about the connection has `note` instead of an event.
 */
const timeline = new Timeline(byId("waterfall"), { showFrame: frames.show });
const PARTS = [totals, progress, transcript, questions, output, conversation, timeline, frames, usage];
const FAILURES = { // by the code of the `error` event
  AGENT_EXECUTION_ERROR: "the agent raised an error",
  TIMEOUT_ERROR: "it took too long",
  SHUTDOWN: "the service was shut down",
  WORKER_LOST: "the process that ran it is gone",
};
const OUTCOMES = {
  complete: () => ["completed", ENDS.completed],
  error: ({ code }) => ["failed", `${ENDS.failed}: ${FAILURES[code] ?? code}`],
  cancelled: ({ reason }) => ["cancelled", reason ? `${ENDS.cancelled}: ${reason}` : ENDS.cancelled],
};

let pending = []; // frames received and not yet drawn
let pendingSize = 0; // characters
let batchSize = MIN_BATCH;
let scheduled = false;
let caughtUp = Promise.withResolvers();
let ticker = null;
let over = false;

/** Clear the display; `text` is the new status. */
export function clear(text, kind = "working") {
  pending = [];
  pendingSize = 0;
  caughtUp.resolve();
  over = false;
  for (const part of PARTS) part.clear();
  for (const id of ["gap", "run-id", "copy-link"]) byId(id).hidden = true;
  byId("details").hidden = kind === "";
  byId("empty").hidden = kind !== "";
  clearInterval(ticker);
  state(kind, text);
  connection("", "");
}

/** Show the run's id. */
export function name(runId) {
  byId("totals").hidden = false;
  for (const id of ["run-id", "copy-link"]) byId(id).hidden = false;
  byId("run-id").textContent = runId;
  frames.name(runId);
}

/** Show the run's status. */
export function state(kind, text) {
  status.show(kind, text);
}

/** Show the state of the connection, and a note among the frames if there is one. */
export function connection(kind, text, note) {
  byId("connection").className = kind;
  byId("connection").textContent = text;
  if (note !== undefined) receive({ id: null, event: null, data: null, raw: "", note });
}

/** Show when the user asked for the run, by the service's clock. */
export function clicked(time) {
  totals.clicked(time);
}

/** Show when the run was created, as its record has it. */
export function created(timestamp) {
  const time = Date.parse(timestamp);
  totals.created(time);
  timeline.created(time);
}

/** Treat events up to now as a replay. */
export function replay() {
  totals.replay();
}

/** Queue a frame of the stream to be drawn. */
export function receive(frame) {
  frame.receivedAt = Date.now() + clockOffset();
  pending.push(frame);
  pendingSize += frame.raw.length;
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

/** Show the run's output, and the service's sums of usage, if there are any. */
export function complete(value, sums) {
  usage.showTotal(sums);
  totals.showUsage(sums);
  output.complete(value);
}

/** Show the run's error. */
export function fail(error) {
  output.fail(error);
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
  const began = performance.now();
  const batch = pending.splice(0, batchSize);
  for (const { raw } of batch) pendingSize -= raw.length;
  if (!isBehind()) {
    caughtUp.resolve();
    caughtUp = Promise.withResolvers();
  }
  for (const part of PARTS) part.add(batch);
  for (const { id, event, data } of batch) {
    if (event === "gap") showGap(data);
    if (id === null) continue;
    if (event === "started") start();
    if (event === "input_requested" || event === "input_received") showWorking();
    if (Object.hasOwn(OUTCOMES, event)) end(...OUTCOMES[event](data));
  }
  const next = (batch.length * DRAWING) / Math.max(performance.now() - began, 1);
  batchSize = Math.min(Math.max(Math.floor(next), MIN_BATCH), MAX_BATCH);
}

function start() {
  showWorking();
  clearInterval(ticker);
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
  totals.tick();
}

function showGap({ first_available: first, requested }) {
  byId("gap").hidden = false;
  byId("gap").textContent =
    first < requested
      ? "Another run has this id by now; its events follow."
      : `Events ${requested} to ${first - 1} are no longer stored; the display continues at ${first}.`;
}

function end(kind, text) {
  over = true;
  clearInterval(ticker);
  for (const part of PARTS) part.end(kind);
  state(kind, text);
  recent.showState(kind);
}
