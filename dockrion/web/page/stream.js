// Reading the events of a run (WHATWG HTML, 9.2, "Server-sent events") until the last of them.

import { Refused } from "./api.js";

const LAST = new Set(["complete", "error", "cancelled", "gone"]);
const GOES_ON = new Set(["timeout", "auth_expired"]); // the connection's end, not a loss of it
const PASSING = new Set([429, 500, 502, 503, 504]);
const FIRST_PAUSE = 500; // milliseconds, doubled after each failure
const LONGEST_PAUSE = 15_000;

/** The connection is lost, and there is no way back to the run. */
export class Lost extends Error {}

/**
 * Hear every event of a run once and in order, resuming after what was heard whenever the connection is lost.
 *
 * `first` is a response already there, or null; `resume(after)` asks for what comes after a sequence, null where
 * nothing can. `patience` is how many milliseconds without a byte mean that a connection is dead. `hear` has
 * `opened(after)`, `frame(frame)` and `lost(after)`.
 */
export async function follow({ first, resume, patience, signal, hear }) {
  let response = first;
  let after = 0;
  let failures = 0;
  for (;;) {
    let goesOn = false;
    try {
      response ??= await resume(after);
      if (response.status === 204) return; // nothing will ever follow
      hear.opened(after);
      for await (const frame of frames(response.body, patience)) {
        if (frame.id !== null) {
          after = frame.id;
          failures = 0;
        }
        hear.frame(frame);
        if (LAST.has(frame.event)) return;
        goesOn = GOES_ON.has(frame.event);
      }
    } catch (error) {
      if (signal.aborted || !passes(error)) throw error;
    }
    signal.throwIfAborted();
    if (resume === null) throw new Lost("The connection is lost, and with it the run.");
    response = null;
    if (goesOn) continue;
    hear.lost(after);
    await pause(Math.min(FIRST_PAUSE * 2 ** failures, LONGEST_PAUSE) * (0.5 + Math.random() / 2), signal);
    failures += 1;
  }
}

/** Yield `{id, event, data, raw}` for each frame; a comment has no event, and what has no id moves no position. */
export async function* frames(body, patience) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  const leave = () => reader.cancel().catch(() => {}); // it may have failed already
  let text = "";
  let silence;
  try {
    for (;;) {
      silence = setTimeout(leave, patience);
      const { value, done } = await reader.read();
      clearTimeout(silence);
      if (done) return;
      const blocks = (text + decoder.decode(value, { stream: true })).split("\n\n");
      text = blocks.pop();
      for (const block of blocks) yield parsed(block);
    }
  } finally {
    clearTimeout(silence);
    leave();
  }
}

function parsed(raw) {
  const frame = { id: null, event: null, data: null, raw };
  for (const line of raw.split("\n")) {
    const [, name, value] = /^([^:]*):? ?(.*)$/s.exec(line);
    if (name === "id") frame.id = Number(value);
    else if (name === "event") frame.event = value;
    else if (name === "data") frame.data = JSON.parse(value);
  }
  return frame;
}

/** Tell whether what failed may succeed later. */
export function passes(error) {
  return !(error instanceof Refused) || PASSING.has(error.status);
}

/** Wait, but not past the moment when the network is back. */
export function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const over = new AbortController();
    const settle = (then) => () => {
      over.abort();
      clearTimeout(timer);
      then();
    };
    const timer = setTimeout(settle(resolve), milliseconds);
    window.addEventListener("online", settle(resolve), over);
    signal.addEventListener("abort", settle(() => reject(signal.reason)), over);
  });
}
