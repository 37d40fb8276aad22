// What a run says and does, in the order in which it begins: text, reasoning, messages, tool calls, questions.

import { Answer, Call, Question, Text } from "./blocks.js";
import { byId, displayText, keepAtEnd } from "../dom.js";

const MAX_BLOCKS = 500;
const part = byId("text");
const words = byId("words");
const note = part.querySelector(".note");

let count = 0;
const latest = new Map(); // by source, the block that its text is added to
const messages = new Map(); // by message_id, the block of its tokens
const calls = new Map(); // by tool_call_id, the calls without a result
const asked = new Map(); // by request_id, the questions without an answer
const unwritten = new Set();
const removals = new WeakMap(); // what to do when a block's element is removed

export function clear() {
  count = 0;
  for (const blocks of [latest, messages, calls, asked, unwritten]) blocks.clear();
  words.replaceChildren();
  note.hidden = true;
  part.hidden = true;
}

export function add(frames) {
  const shown = frames.filter(({ id, event }) => id !== null && Object.hasOwn(SHOW, event));
  if (shown.length === 0) return;
  part.hidden = false;
  keepAtEnd(words, () => {
    for (const { event, data } of shown) SHOW[event](data);
    for (const block of unwritten) block.write();
    unwritten.clear();
  });
}

/** Show that nothing follows. */
export function end() {
  for (const block of latest.values()) block.end();
  for (const call of calls.values()) call.abandon();
  for (const question of asked.values()) question.end("Not answered");
}

const SHOW = {
  token: (event) => write(textBlock("text", event), event.content),

  reasoning: (event) => write(textBlock("reasoning", event), event.content),

  message(event) {
    const text = contentText(event.content);
    const streamed = messages.get(event.message_id);
    const before = latest.get(event.source);
    endLatest(event.source);
    if (streamed !== undefined) {
      streamed.replaceWith(text);
      streamed.end();
    } else if (text !== "" && !(before?.kind === "text" && before.text.endsWith(text))) {
      const block = append(message(event));
      block.add(text);
      block.end();
    }
  },

  tool_call(event) {
    endLatest(event.source);
    appendTo(calls, event.tool_call_id, new Call(event.name, event.arguments, event.source ?? ""));
  },

  tool_result(event) {
    endLatest(event.source);
    const call = calls.get(event.tool_call_id) ?? append(new Call(event.name ?? "tool", undefined, event.source ?? ""));
    calls.delete(event.tool_call_id);
    call.end(event.result, event.is_error, event.duration_ms);
  },

  input_requested(event) {
    appendTo(asked, event.request_id, new Question(event.prompt));
  },

  input_received({ request_id, source, value }) {
    const by = source ? ` by ${source}` : "";
    asked.get(request_id)?.end(value === undefined ? `Answered${by}` : `Answered${by}: ${displayText(value)}`);
    asked.delete(request_id);
  },
};

/** Return the block that a token or a piece of reasoning belongs to. */
function textBlock(kind, { source, message_id: messageId }) {
  const before = latest.get(source);
  if (before?.kind === kind && before.messageId === messageId) return before;
  endLatest(source);
  const block = appendTo(latest, source, kind === "text" ? new Answer(messageId, source ?? "") : new Text(kind, messageId, source ?? ""));
  if (kind === "text" && messageId !== undefined) keep(messages, messageId, block);
  return block;
}

/** End the block that text of a source was added to. */
function endLatest(source) {
  const block = latest.get(source);
  if (block === undefined) return;
  latest.delete(source);
  unwritten.delete(block);
  block.end();
}

function message(event) {
  const by = speaker(event);
  return event.role === "assistant" ? new Answer(event.message_id, by) : new Text("message", event.message_id, by);
}

function write(block, piece) {
  block.add(piece);
  unwritten.add(block);
}

function appendTo(blocks, key, block) {
  keep(blocks, key, block);
  return append(block);
}

/** Find a block under a key as long as it is shown. */
function keep(blocks, key, block) {
  blocks.set(key, block);
  const remove = removals.get(block.element);
  removals.set(block.element, () => {
    remove?.();
    if (blocks.get(key) === block) blocks.delete(key);
  });
}

/** Append a block, and remove the oldest one over the limit. */
function append(block) {
  words.append(block.element);
  count += 1;
  if (count > MAX_BLOCKS) {
    removals.get(words.firstElementChild)?.();
    words.firstElementChild.remove();
  }
  note.hidden = count <= MAX_BLOCKS;
  note.textContent = `The last ${MAX_BLOCKS} of ${count}.`;
  return block;
}

function contentText(content) {
  if (typeof content === "string") return content;
  return content.map((block) => (typeof block.text === "string" ? block.text : JSON.stringify(block))).join("\n");
}

function speaker({ source, name, role = "assistant" }) {
  return [source, name, role === "assistant" ? "" : role].filter(Boolean).join(", ");
}
