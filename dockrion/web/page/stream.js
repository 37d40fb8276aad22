// Reads the events of a run (WHATWG HTML, 9.2, "Server-sent events") up to the last one.

import { HttpError } from "./api.js";

const FINAL = new Set(["complete", "error", "cancelled", "gone"]);
const RECONNECT = new Set(["timeout", "auth_expired"]); // the server ends the connection, and it is not a loss
const TRANSIENT = new Set([429, 500, 502, 503, 504]);
const COMMENTS = /^:.*(?:\n:.*)*$/; // no blank line has to follow them
const BLANK = /^\n+/;
const FIRST_DELAY = 500; // milliseconds, doubled after each failure
const LONGEST_DELAY = 15_000;

/**
 * Read every event of a run once and in order, resuming after the last one whenever the connection is lost.
 *
 * `first` is the response of a stream that is open already, or null; `resume(after)` opens a stream after a
 * sequence, and is null where nothing can be resumed. `timeout` is how many milliseconds without a byte mean
 * that a connection is dead. `on` has the callbacks `opened(after)`, `frame(frame)`, `batch()` and `lost(after)`;
 * reading goes on once what `batch` returns is settled.
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
      for await (const batch of batches(response.body, timeout)) {
        for (const frame of batch) {
          if (frame.id !== null) {
            after = frame.id;
            failures = 0;
          }
          on.frame(frame);
          reconnect = RECONNECT.has(frame.event);
        }
        await on.batch();
        signal.throwIfAborted();
        if (batch.some(({ event }) => FINAL.has(event))) return;
      }
    } catch (error) {
      if (signal.aborted || !isTransient(error)) throw error;
    }
    signal.throwIfAborted();
    if (resume === null) throw new Error("The connection was lost, and this run cannot be resumed.");
    response = null;
    if (reconnect) continue;
    on.lost(after);
    await delay(Math.min(FIRST_DELAY * 2 ** failures, LONGEST_DELAY) * (0.5 + Math.random() / 2), signal);
    failures += 1;
  }
}

/** Yield arrays of `{id, event, data, raw}`. A control frame has no id, and a comment no event either. */
export async function* batches(body, timeout) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  const splitter = new Splitter();
  const cancel = () => reader.cancel().catch(() => {}); // it may have failed already
  let timer;
  try {
    for (;;) {
      timer = setTimeout(cancel, timeout);
      const { value, done } = await reader.read();
      clearTimeout(timer);
      if (done) return;
      yield splitter.push(decoder.decode(value, { stream: true })).map(parse);
    }
  } finally {
    clearTimeout(timer);
    cancel();
  }
}

/** Splits a text that arrives in pieces at its blank lines, and looks at each piece once, however long a block is. */
class Splitter {
  #block = []; // the pieces of a block that is not complete
  #lineBreak = ""; // at the end of what arrived; another one ends the block

  /** Return the blocks that are complete with a piece. */
  push(piece) {
    const text = this.#lineBreak + piece;
    const blocks = (this.#block.length > 0 ? text : text.replace(BLANK, "")).split("\n\n");
    const rest = blocks.pop();
    if (blocks.length > 0) blocks[0] = this.#take() + blocks[0];
    this.#lineBreak = rest.endsWith("\n") ? "\n" : "";
    if (rest !== "") this.#block.push(rest.slice(0, rest.length - this.#lineBreak.length));
    if (this.#endsWithComments()) blocks.push(this.#take());
    return blocks;
  }

  #endsWithComments() {
    return this.#lineBreak !== "" && this.#block[0]?.startsWith(":") && COMMENTS.test(this.#block.join(""));
  }

  #take() {
    const block = this.#block.join("");
    this.#block = [];
    return block;
  }
}

function parse(raw) {
  const frame = { id: null, event: null, data: null, raw };
  for (const line of raw.split("\n")) {
    const colon = line.indexOf(":");
    const name = line.slice(0, colon);
    const value = line.slice(colon + (line[colon + 1] === " " ? 2 : 1));
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
