// The runs that were made with Wait. They have no record on the service: this tab remembers the last of them.

import { withoutSecrets } from "../conversation/conversation.js";
import { contentText, isFromUser, messagesOf } from "../conversation/messages.js";

const MAX_REMEMBERED = 20;
const MAX_SIZE = 2 * 1024 * 1024; // characters of all inputs and outputs; the last invocation may exceed it alone
const EXCERPT = 120; // characters, as in the service's listings

const remembered = []; // the newest first
let count = 0;
let onChange = () => {};

/** Call a function whenever an invocation begins or ends. */
export function onChanged(callback) {
  onChange = callback;
}

export function all() {
  return remembered;
}

/** Return the name of an invocation among the runs, and in the page's URL. */
export function key({ number }) {
  return `wait=${number}`;
}

/** Return the invocation with a number, undefined if it is forgotten. */
export function find(number) {
  return remembered.find((each) => each.number === number);
}

/** Remember an invocation that begins; `body` is its input as JSON. It is cancelled with the signal. */
export function begin(body, signal) {
  const invocation = new Invocation((count += 1), body);
  remembered.unshift(invocation);
  signal.addEventListener("abort", () => invocation.end("cancelled", {}));
  forgetOldest();
  onChange();
  return invocation;
}

/** Forget an invocation that was refused. */
export function forget(invocation) {
  if (remembered.includes(invocation)) remembered.splice(remembered.indexOf(invocation), 1);
  onChange();
}

/** An invocation. Its `result` is `{output, usage}` or `{error}`, null until it ends. */
class Invocation {
  createdAt = Date.now();
  completedAt = null;
  state = "running";
  result = null;
  size = 0;

  constructor(number, body) {
    this.number = number;
    this.body = body;
    this.size = body.length;
  }

  get question() {
    return excerpt(withoutSecrets(JSON.parse(this.body)));
  }

  end(state, result) {
    if (this.completedAt !== null) return;
    this.completedAt = Date.now();
    this.state = state;
    this.result = result;
    this.size += JSON.stringify(result).length;
    forgetOldest();
    onChange();
  }
}

function forgetOldest() {
  let size = 0;
  const kept = remembered.findIndex((each, at) => at === MAX_REMEMBERED || ((size += each.size) > MAX_SIZE && at > 0));
  if (kept > 0) remembered.length = kept;
}

/** Return one line of an input, as `input_excerpt` in the API. */
function excerpt(input) {
  const line = (text(input) || JSON.stringify(input)).slice(0, 8 * EXCERPT).trim().replace(/\s+/g, " ");
  return line.length <= EXCERPT ? line : `${line.slice(0, EXCERPT - 1)}…`;
}

function text(input) {
  if (typeof input === "string") return input;
  const question = (messagesOf(input) ?? []).findLast(isFromUser);
  const fields = typeof input === "object" && input !== null && !Array.isArray(input) ? Object.values(input) : [];
  const texts = [question === undefined ? "" : contentText(question.content), ...fields];
  return texts.find((each) => typeof each === "string" && each.trim() !== "") ?? "";
}
