// Reads the events of a run (WHATWG HTML, 9.2, "Server-sent events") up to the last one.

import { HttpError } from "./api.js";

const FINAL = new Set(["complete", "error", "cancelled", "gone"]);
const RECONNECT = new Set(["timeout", "auth_expired"]); // the server ends the connection, and it is not a loss
const TRANSIENT = new Set([429, 500, 502, 503, 504]);
const COMMENTS = /^(?::.*\n)*/; // whole lines, which no blank line has to follow
const FIRST_DELAY = 500; // milliseconds, doubled after each failure
const LONGEST_DELAY = 15_000;

/** The connection is lost, and the run cannot be resumed. */
export class ConnectionLost extends Error {}

/**
 * Read every event of a run once and in order, resuming after the last one whenever the connection is lost.
 *
 * `first` is the response of a stream that is open already, or null; `resume(after)` opens a stream after a
 * sequence, and is null where nothing can be resumed. `timeout` is how many milliseconds without a byte mean
 * that a connection is dead. `on` has the callbacks `opened(after)`, `frame(frame)` and `lost(after)`.
 */
export async function follow({ first, resume, timeout, signal, on }) {
  let response = first;
  let after = 0;
  let failures = 0;
  for (;;) {
    let reconnect = false;
    try {
      response ??= await resume(after);
      if (response.status === 204) return; // there are no more events
      on.opened(after);
      for await (const frame of frames(response.body, timeout)) {
        if (frame.id !== null) {
          after = frame.id;
          failures = 0;
        }
        on.frame(frame);
        if (FINAL.has(frame.event)) return;
        reconnect = RECONNECT.has(frame.event);
      }
    } catch (error) {
      if (signal.aborted || !isTransient(error)) throw error;
    }
    signal.throwIfAborted();
    if (resume === null) throw new ConnectionLost("The connection was lost, and this run cannot be resumed.");
    response = null;
    if (reconnect) continue;
    on.lost(after);
    await delay(Math.min(FIRST_DELAY * 2 ** failures, LONGEST_DELAY) * (0.5 + Math.random() / 2), signal);
    failures += 1;
  }
}

/** Yield `{id, event, data, raw}` for each frame. A control frame has no id, and a comment no event either. */
export async function* frames(body, timeout) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  const cancel = () => reader.cancel().catch(() => {}); // it may have failed already
  let text = "";
  let timer;
  try {
    for (;;) {
      timer = setTimeout(cancel, timeout);
      const { value, done } = await reader.read();
      clearTimeout(timer);
      if (done) return;
      const blocks = (text + decoder.decode(value, { stream: true })).split("\n\n");
      text = blocks.pop();
      for (const block of blocks) yield parse(block);
      const [comments] = COMMENTS.exec(text);
      text = text.slice(comments.length);
      if (comments !== "") yield parse(comments);
    }
  } finally {
    clearTimeout(timer);
    cancel();
  }
}

function parse(raw) {
  const frame = { id: null, event: null, data: null, raw };
  for (const line of raw.split("\n")) {
    const [, name, value] = /^([^:]*):? ?(.*)$/s.exec(line);
    if (name === "id") frame.id = Number(value);
    else if (name === "event") frame.event = value;
    else if (name === "data") frame.data = JSON.parse(value);
  }
  return frame;
}

/** Return whether what failed may succeed later. */
export function isTransient(error) {
  return !(error instanceof HttpError) || TRANSIENT.has(error.status);
}

/** Wait, but no longer than until the network is back. */
export function delay(milliseconds, signal) {
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
