// What a person can do: stream, start a run, wait for an answer, look at a run, cancel it.

import { ask, askJson } from "./api.js";
import { curl } from "./curl.js";
import { byId } from "./dom.js";
import { refuse } from "./form.js";
import * as recent from "./recent.js";
import * as run from "./run.js";
import { follow, passes, pause } from "./stream.js";

const POLL = 1000; // milliseconds, where there are no events to wait for
const SILENT_HEARTBEATS = 3; // make a connection a dead one
const LAST = new Set(["complete", "error", "cancelled"]);
const EVENTS = "GET /runs/{run_id}/events";
const CANCEL = "DELETE /runs/{run_id}";

let offered = new Set();
let patience = 0;
let current = null; // `{runId, controller}` of what is shown

/** Learn what the service offers, from its `/info`. */
export function learn(info) {
  offered = new Set(info.endpoints);
  patience = info.heartbeat_interval * 1000 * SILENT_HEARTBEATS;
}

export function offers(endpoint) {
  return offered.has(endpoint);
}

/** Pattern A. Where the run can be come back to, it goes on without us. */
export async function stream(body) {
  const path = offers(EVENTS) ? "invoke/stream?on_disconnect=continue" : "invoke/stream";
  show(curl("POST", path, { body, streams: true }));
  const controller = new AbortController();
  const first = await ask("POST", path, { body, signal: controller.signal });
  read(enter(first.headers.get("X-Run-Id"), "Waiting to start", controller), first);
}

/** Pattern B. */
export async function start(body) {
  show(curl("POST", "runs", { body }));
  const { run_id } = await askJson("POST", "runs", { body });
  read(enter(run_id, "Waiting to start"), null);
}

/** Ask, and wait for nothing but the answer. */
export async function invoke(body) {
  show(curl("POST", "invoke", { body }));
  until(enter(null, "Waiting for the answer"), async (signal) => {
    const { output } = await askJson("POST", "invoke", { body, signal });
    run.over("completed", run.ENDS.completed);
    run.outcome("Output", output);
  }).catch((error) => refuse(error.message, error.details));
}

/** Show a run that there is, from its beginning. */
export function watch(runId) {
  if (offers(EVENTS)) show(curl("GET", `runs/${runId}/events`, { streams: true }));
  const doing = enter(runId, "Waiting to start");
  run.replay();
  return read(doing, null);
}

/** End what is shown. */
export async function cancel() {
  const { runId, controller } = current;
  if (runId === null || !offers(CANCEL)) {
    leave(); // which ends it, too
    run.over("cancelled", run.ENDS.cancelled);
    recent.refresh();
    return;
  }
  const path = `runs/${runId}?reason=cancelled+by+hand`;
  show(curl("DELETE", path));
  byId("cancel").hidden = true;
  byId("run").focus();
  await ask("DELETE", path, { signal: controller.signal }).catch((error) => {
    byId("cancel").hidden = controller.signal.aborted;
    run.connection("lost", `Not cancelled: ${error.message}`);
  });
}

/** Show nothing. */
export function rest() {
  leave();
  recent.mark(null);
  run.begin("Nothing has been asked yet.", "");
}

function leave() {
  current?.controller.abort();
  current = null;
  byId("cancel").hidden = true;
}

function enter(runId, text, controller = new AbortController()) {
  leave();
  current = { runId, controller };
  const hash = runId === null ? "" : `#run=${runId}`;
  if (location.hash !== hash) history.pushState(null, "", location.pathname + hash);
  run.begin(text);
  if (runId !== null) run.name(runId);
  recent.mark(runId);
  recent.refresh();
  byId("cancel").hidden = false;
  const { top } = byId("run").getBoundingClientRect();
  if (top < 0 || top > window.innerHeight / 2) byId("run").scrollIntoView();
  return current;
}

function read(doing, first) {
  const watched = first !== null || offers(EVENTS);
  return until(doing, (signal) => (watched ? hear : poll)(doing.runId, signal, first)).catch(() => {}); // it is said
}

/** Do something to its end, unless it is left before; say why it fails. */
async function until({ controller: { signal } }, work) {
  try {
    await work(signal);
  } catch (error) {
    if (signal.aborted) return;
    run.over("failed", error.message);
    throw error;
  } finally {
    if (!signal.aborted) {
      byId("cancel").hidden = true;
      recent.refresh();
    }
  }
}

async function hear(runId, signal, first) {
  let last = null;
  let open = false;
  let losses = 0;
  const resume = (after) => ask("GET", `runs/${runId}/events`, {
    signal, patience, headers: after > 0 ? { "Last-Event-ID": String(after) } : {},
  });
  await follow({
    first, resume: runId !== null && offers(EVENTS) ? resume : null, patience, signal,
    hear: {
      opened(after) {
        open = true;
        if (losses === 0) {
          run.connection("live", "Live");
          return;
        }
        run.replay();
        run.connection("live", `Live, resumed after event ${after}`, `Connection resumed after event ${after}`);
      },
      frame(frame) {
        last = frame.event ?? last;
        run.hear(frame);
      },
      lost(after) {
        const said = `Connection lost after event ${after}`;
        run.connection("lost", `${said}, trying again`, open ? said : undefined);
        losses += open ? 1 : 0;
        open = false;
      },
    },
  });
  run.connection("", losses === 0 ? "" : `The connection was lost and resumed ${losses === 1 ? "once" : `${losses} times`}`);
  if (!LAST.has(last)) run.over("failed", "The events of this run are no longer stored");
}

async function poll(runId, signal) {
  for (;;) {
    try {
      const record = await askJson("GET", `runs/${runId}`, { signal, patience });
      run.connection("", "");
      if (record.completed_at !== null) {
        settle(record);
        return;
      }
      run.state("working", record.status === "accepted" ? "Waiting to start" : "Running");
    } catch (error) {
      if (signal.aborted || !passes(error)) throw error;
      run.connection("lost", "Connection lost, trying again");
    }
    await pause(POLL, signal);
  }
}

function settle({ status, output, error }) {
  run.over(status, run.ENDS[status]);
  if (status === "completed") run.outcome("Output", output);
  if (error !== null) run.outcome("Error", error);
}

function show(command) {
  byId("command").hidden = false;
  byId("curl").textContent = command;
  byId("copy").textContent = "Copy";
}
