// What a run says and does, in the order in which it begins: text, reasoning, messages, tool calls, and questions,
// which stay last until they are answered.

import { byId, keepAtEnd } from "../dom.js";
import { Again, Answer, Call, Reasoning, Text } from "./blocks.js";
import { contentText } from "./messages.js";

const MAX_BLOCKS = 500;
const scroller = byId("transcript");
const words = byId("words");
const note = byId("left-out");

let count = 0;
const latest = new Map(); // by source, the block that its text is added to
const messages = new Map(); // by message_id, the block of its tokens
const calls = new Map(); // by tool_call_id, the calls without a result
const answers = new Map(); // by itself, each block of what the assistant says
const pinned = new Set(); // the blocks that stay last
const sources = new Set(); // up to two of them
const unwritten = new Set();
const removals = new WeakMap(); // what to do when a block's element is removed

export function clear() {
  count = 0;
  for (const blocks of [latest, messages, calls, answers, pinned, sources, unwritten]) blocks.clear();
  words.replaceChildren();
  note.hidden = true;
}

export function add(frames) {
  const shown = frames.filter(({ id, event }) => id !== null && Object.hasOwn(SHOW, event));
  if (shown.length === 0) return;
  change(() => {
    for (const { event, data, raw } of shown) {
      if (sources.size < 2 && event !== "started") sources.add(data.source ?? "");
      SHOW[event](data, raw.length);
    }
    if (sources.size > 1) scroller.classList.add("named");
    for (const block of unwritten) block.write();
    unwritten.clear();
  });
}

/** Show that nothing follows. */
export function end() {
  for (const block of latest.values()) block.end();
  for (const call of calls.values()) call.abandon();
}

/** Show that the run begins again: nothing of what is shown is continued, and it answers from the beginning. */
export function beginAgain(attempt, previous) {
  end();
  for (const blocks of [latest, messages, calls, answers, unwritten]) blocks.clear();
  append(new Again(attempt, previous));
}

/** Return what the assistant has said, in its last attempt. */
export function said() {
  return [...answers.keys()].map(({ text }) => text).join("\n\n");
}

/** Return whether a text, or any if none is given, has been said. */
export function hasSaid(text) {
  const texts = [...answers.keys()].map((answer) => compact(answer.text));
  if (text === undefined) return texts.length > 0;
  return [...texts, texts.join("")].includes(compact(text));
}

/** Set what shows the events of another type, in their order among the others. */
export function show(type, draw) {
  SHOW[type] = draw;
}

/** Change what is shown; a reader who is at the end stays there. */
export function change(draw) {
  keepAtEnd(scroller, draw);
}

/** Append a block that stays last until it is released. */
export function pin(block) {
  append(block, null);
  pinned.add(block);
}

/** Let a block be followed by others. */
export function release(block) {
  pinned.delete(block);
  if (pinned.size > 0) words.insertBefore(block.element, firstPinned());
}

const SHOW = {
  token: (event) => write(textBlock("text", event), event.content),

  reasoning(event) {
    const block = textBlock("reasoning", event);
    block.lasts(Date.parse(event.timestamp));
    write(block, event.content);
  },

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

  tool_call(event, size) {
    endLatest(event.source);
    appendTo(calls, event.tool_call_id, new Call(event.name, event.arguments, event.source ?? "", size));
  },

  tool_result(event, size) {
    endLatest(event.source);
    const call = calls.get(event.tool_call_id) ?? append(new Call(event.name ?? "tool", undefined, event.source ?? ""));
    calls.delete(event.tool_call_id);
    call.end(event.result, event.is_error, event.duration_ms, size);
  },
};

/** Return the block that a token or a piece of reasoning belongs to. */
function textBlock(kind, { source, message_id: messageId }) {
  const before = latest.get(source);
  if (before?.kind === kind && before.messageId === messageId) return before;
  endLatest(source);
  const block = appendTo(latest, source, kind === "text" ? new Answer(messageId, source ?? "") : new Reasoning(messageId, source ?? ""));
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
  return event.role === "assistant" ? new Answer(event.message_id, by, event.source ?? "") : new Text(event.message_id, by);
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

/** Insert a block before the pinned ones, or at the end, and remove the oldest one over the limit. */
function append(block, next = firstPinned()) {
  words.insertBefore(block.element, next);
  if (block.kind === "text") keep(answers, block, block);
  count += 1;
  if (count > MAX_BLOCKS) removeOldest();
  note.hidden = count <= MAX_BLOCKS;
  note.textContent = `The last ${MAX_BLOCKS} of ${count}.`;
  return block;
}

function firstPinned() {
  const [first] = pinned;
  return first?.element ?? null;
}

function removeOldest() {
  const oldest = words.firstElementChild;
  if (oldest === firstPinned()) return;
  removals.get(oldest)?.();
  oldest.remove();
}

function compact(text) {
  return text.replace(/\s+/g, "");
}

function speaker({ source, name, role = "assistant" }) {
  return [source, name, role === "assistant" ? "" : role].filter(Boolean).join(", ");
}
