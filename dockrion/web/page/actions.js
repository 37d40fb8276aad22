// What the user can do: stream, start a run, wait for the output, watch a run, cancel it.

import { clockOffset, postOnce, request, requestJson } from "./api.js";
import { show as showCode } from "./code/code.js";
import { byId } from "./dom.js";
import { showProblem } from "./request/form.js";
import * as conversation from "./conversation/conversation.js";
import * as questions from "./conversation/questions.js";
import * as compare from "./runs/compare.js";
import * as invocations from "./runs/invocations.js";
import * as recent from "./runs/recent.js";
import * as run from "./run.js";
import { delay, follow, isTransient } from "./stream.js";

const POLL = 1000; // milliseconds, where there is no event stream
const MISSED_HEARTBEATS = 3; // after which a connection counts as dead
const TERMINAL = new Set(["complete", "error", "cancelled"]);
const MAY_WAIT = new Set([null, "heartbeat", "gap"]); // control frames after which an open question may be unknown
const MAX_SENT = 50; // inputs that are remembered
const WIDE = "(min-width: 64rem)"; // as base.css
const EVENTS = "GET /runs/{run_id}/events";
const RECORD = "GET /runs/{run_id}";
const CANCEL = "DELETE /runs/{run_id}";
const INPUT = "POST /runs/{run_id}/input";

let endpoints = new Set();
let timeout = 0;
const sent = new Map(); // by run id, what this page has sent: the service may not store it
let current = null; // `{runId, controller}` of what is shown

/** Read from the service's `/info` what it offers. */
export function configure(info) {
  endpoints = new Set(info.endpoints);
  timeout = info.heartbeat_interval * 1000 * MISSED_HEARTBEATS;
  compare.configure({ streams: offers(EVENTS), timeout });
  questions.answerWith(offers(INPUT) ? respond : null);
}

export function offers(endpoint) {
  return endpoints.has(endpoint);
}

/** Pattern A. Where the run can be resumed, it survives a lost connection. */
export async function stream(body, turn = "new") {
  const path = offers(EVENTS) ? "invoke/stream?on_disconnect=continue" : "invoke/stream";
  showCode({ method: "POST", path, body, streams: true });
  const controller = new AbortController();
  const clickedAt = Date.now() + clockOffset();
  const send = offers(EVENTS) ? postOnce : request.bind(null, "POST"); // else the run ends with its connection
  const first = await send(path, { body, signal: controller.signal });
  const opened = open(first.headers.get("X-Run-Id"), "Waiting to start", { body, turn, controller });
  run.clicked(clickedAt);
  if (opened.runId !== null && offers(RECORD)) readRecord(opened);
  followRun(opened, first);
}

/** Pattern B. */
export async function start(body, turn = "new") {
  showCode({ method: "POST", path: "runs", body, streams: offers(EVENTS) });
  const clickedAt = Date.now() + clockOffset();
  const { run_id: runId, created_at: createdAt } = await (await postOnce("runs", { body })).json();
  const opened = open(runId, "Waiting to start", { body, turn });
  run.clicked(clickedAt);
  run.created(createdAt);
  followRun(opened, null);
}

/** Invoke the agent, without its events, and without a key, with which it would go on when the user stops it. */
export async function invoke(body, turn = "new") {
  showCode({ method: "POST", path: "invoke", body });
  const controller = new AbortController();
  const invocation = invocations.begin(body, controller.signal);
  const opened = open(null, "Waiting for the output", { body, turn, controller, invocation });
  perform(opened, async (signal) => {
    const { output, metadata } = await requestJson("POST", "invoke", { body, signal });
    invocation.end("completed", { output, usage: metadata.usage });
    showInvocationEnd(invocation);
  }).catch((error) => {
    const { message, code, details, status } = error;
    if (status < 500) invocations.forget(invocation); // it was refused
    else invocation.end("failed", { error: { error: message, code, details } });
    if (status === 400) showProblem(message, details);
    else run.fail({ error: message, code, details });
  });
}

/** Show an invocation again. */
export function showInvocation(number) {
  const invocation = invocations.find(number);
  if (invocation === undefined) {
    reset();
    run.state("", "This tab does not remember that output any more.");
  } else if (invocation.result !== null) {
    showCode({ method: "POST", path: "invoke", body: invocation.body });
    open(null, "", { body: invocation.body, invocation });
    byId("stop").hidden = true;
    showInvocationEnd(invocation);
  }
}

function showInvocationEnd({ state, result: { output, usage, error } }) {
  if (state === "completed") run.complete(output, usage);
  if (error !== undefined) run.fail(error);
  run.finish(state, run.ENDS[state]);
}

/** Show an existing run from its beginning. */
export function watch(runId) {
  if (offers(EVENTS)) showCode({ method: "GET", path: `runs/${runId}/events`, streams: true });
  const opened = open(runId, "Waiting to start", { body: sent.get(runId) });
  run.replay();
  if (offers(RECORD) && offers(EVENTS)) readRecord(opened);
  return followRun(opened, null);
}

/** Show what is in the record of a run and not in its events: what it was asked, and when it was created. */
async function readRecord({ runId, controller: { signal } }) {
  const record = await requestJson("GET", `runs/${runId}`, { signal, timeout }).catch(() => null);
  if (record === null || signal.aborted) return;
  conversation.showStored(record.input);
  run.created(record.created_at);
}

/** Cancel the run that is shown. */
export async function cancel() {
  const { runId, controller } = current;
  if (runId === null || !offers(CANCEL)) {
    close(); // disconnecting cancels the run
    run.finish("cancelled", run.ENDS.cancelled);
    recent.refresh();
    return;
  }
  const path = `runs/${runId}?reason=stopped+on+the+page`;
  showCode({ method: "DELETE", path });
  byId("stop").hidden = true;
  byId("run").focus();
  await request("DELETE", path, { signal: controller.signal }).catch((error) => {
    byId("stop").hidden = controller.signal.aborted;
    run.connection("lost", `Not stopped: ${error.message}`);
  });
}

/** Answer a question of the run that is shown. A secret answer is not shown in the code. */
async function respond(requestId, value, isSecret) {
  const { runId, controller } = current;
  const path = `runs/${runId}/input`;
  const body = JSON.stringify({ request_id: requestId, value });
  if (!isSecret) showCode({ method: "POST", path, body });
  await request("POST", path, { body, signal: controller.signal });
}

/** Show no run. */
export function reset() {
  close();
  recent.mark(null);
  conversation.leave();
  run.clear("No run yet", "");
  showRunFirst(conversation.isChat());
}

/** Where there is one column, put the run before the request: for the eye, the keyboard and the screen reader. */
function showRunFirst(first) {
  const shown = byId("run");
  const { parentElement: main } = shown;
  const isFirst = main.firstElementChild === shown;
  const shallBeFirst = first && !matchMedia(WIDE).matches;
  if (shallBeFirst && !isFirst) main.prepend(shown);
  if (!shallBeFirst && isFirst) main.querySelector(".aside").after(shown);
}

function close() {
  compare.hide();
  current?.controller.abort();
  current = null;
  byId("stop").hidden = true;
}

/**
 * Show a run that begins. `body` is its input as JSON, if known, and `turn` how it relates to what was shown;
 * a run without an id may be an invocation that this tab remembers.
 */
function open(runId, text, { body = "null", turn = "new", controller = new AbortController(), invocation = null } = {}) {
  close();
  current = { runId, controller };
  const key = invocation === null ? runId : invocations.key(invocation);
  const hash = key === null ? "" : runId === null ? `#${key}` : `#run=${runId}`;
  if (location.hash !== hash) history.pushState(null, "", location.pathname + hash);
  remember(runId, body);
  conversation.begin(turn, JSON.parse(body));
  run.clear(text);
  if (runId !== null) run.name(runId);
  recent.mark(key);
  recent.refresh();
  byId("stop").hidden = false;
  showRunFirst(true);
  const { top } = byId("run").getBoundingClientRect();
  if (turn === "new" && (top < 0 || top > window.innerHeight / 2)) byId("run").scrollIntoView();
  return current;
}

function remember(runId, body) {
  if (runId !== null && body !== "null") sent.set(runId, body);
  if (sent.size > MAX_SENT) sent.delete(sent.keys().next().value);
}

function followRun(opened, first) {
  const streamed = first !== null || offers(EVENTS);
  const work = (signal) => (streamed ? readEvents : poll)(opened.runId, signal, first);
  return perform(opened, work).catch(() => {}); // the error is shown already
}

/** Do the work of what is shown, unless it is closed before, and show the error if it fails. */
async function perform({ controller: { signal } }, work) {
  try {
    await work(signal);
  } catch (error) {
    if (signal.aborted) return;
    run.finish("failed", error.code === "VALIDATION_ERROR" ? "Not started" : error.message);
    throw error;
  } finally {
    if (!signal.aborted) {
      byId("stop").hidden = true;
      recent.refresh();
    }
  }
}

async function readEvents(runId, signal, first) {
  let last = null;
  let lastId = 0;
  let connected = false;
  let losses = 0;
  const resume = (after) => request("GET", `runs/${runId}/events`, {
    signal, timeout, headers: after > 0 ? { "Last-Event-ID": String(after) } : {},
  });
  const checkWaiting = async () => {
    const record = await requestJson("GET", `runs/${runId}`, { signal, timeout }).catch(() => null);
    if (record !== null && record.last_sequence >= lastId) run.showWaiting(record.waiting_for);
  };
  await follow({
    first, resume: runId !== null && offers(EVENTS) ? resume : null, timeout, signal,
    on: {
      opened(after) {
        connected = true;
        if (losses === 0) {
          run.connection("live", "Live");
          return;
        }
        run.replay();
        run.connection("live", `Live, resumed after event ${after}`, `Connection resumed after event ${after}`);
      },
      frame(frame) {
        last = frame.event ?? last;
        lastId = frame.id ?? lastId;
        if (frame.event !== null) run.receive(frame);
        if (MAY_WAIT.has(frame.event) && frame.id === null && runId !== null && offers(RECORD)) checkWaiting();
      },
      batch: run.catchUp,
      lost(after) {
        const message = `Connection lost after event ${after}`;
        run.connection("lost", `${message}, trying again`, connected ? message : undefined);
        losses += connected ? 1 : 0;
        connected = false;
      },
    },
  });
  run.connection("", losses === 0 ? "" : `The connection was lost and resumed ${losses === 1 ? "once" : `${losses} times`}`);
  if (!TERMINAL.has(last)) run.finish("failed", "The events of this run are no longer stored");
}

async function poll(runId, signal) {
  for (;;) {
    try {
      const record = await requestJson("GET", `runs/${runId}`, { signal, timeout });
      run.connection("", "");
      conversation.showStored(record.input);
      if (record.completed_at !== null) {
        showRecord(record);
        return;
      }
      if (record.status === "accepted") run.state("working", "Waiting to start");
      else run.showWaiting(record.waiting_for);
    } catch (error) {
      if (signal.aborted || !isTransient(error)) throw error;
      run.connection("lost", "Connection lost, trying again");
    }
    await delay(POLL, signal);
  }
}

function showRecord({ status, output, error, metadata }) {
  if (status === "completed") run.complete(output, metadata.usage);
  if (error !== null) run.fail(error);
  run.finish(status, run.ENDS[status]);
}
