// What a run was asked: its input, as a text, messages, fields or JSON.

import { displayText, make } from "../dom.js";
import { isSecret, kindOf } from "../request/schema.js";
import { Markdown } from "./markdown.js";
import { contentText, isFromUser, lastQuestion, messagesOf, roleOf } from "./messages.js";

const MAX_FIELDS = 30; // more are shown as JSON
const MAX_MESSAGES = 100;
const MAX_LINE = 200; // characters
const MAX_OPTION = 100; // characters
const SECRET = "•••";

/** Return the blocks of the messages before the question, and those of the question itself. */
export function inputBlocks(input, schema) {
  const shown = masked(input, schema, SECRET);
  const messages = messagesOf(shown);
  if (messages === null) return { before: [], question: [valueBlock(shown)] };
  const { messages: _, _config, ...others } = shown;
  const at = lastQuestion(messages);
  return {
    before: messageBlocks(messages.slice(0, at)),
    question: [...messageBlocks(messages.slice(at)), ...(Object.keys(others).length === 0 ? [] : [options(others)])],
  };
}

/** Return the blocks of the last messages. */
export function messageBlocks(messages) {
  const blocks = messages.slice(-MAX_MESSAGES).map(messageBlock);
  if (messages.length > MAX_MESSAGES) blocks.unshift(make("p", { className: "block note", textContent: `The last ${MAX_MESSAGES} of ${messages.length} messages.` }));
  return blocks;
}

function messageBlock(message) {
  const text = contentText(message.content);
  const role = roleOf(message);
  if (isFromUser(message)) return bubble("User", make("p", { className: "said", textContent: displayText(text) }));
  if (role !== "assistant") {
    const line = make("span", { className: "line", textContent: text.slice(0, MAX_LINE) });
    const summary = make("summary", {}, make("span", { className: "type", textContent: role || "message" }), line);
    return make("details", { className: "block folded" }, summary, make("pre", { textContent: displayText(text) }));
  }
  const markdown = new Markdown();
  markdown.append(displayText(text));
  markdown.end();
  return make("div", { className: "block" }, markdown.element);
}

function valueBlock(value) {
  const isFields = typeof value === "object" && value !== null && !Array.isArray(value);
  const entries = isFields ? Object.entries(value) : [];
  if (typeof value === "string") return bubble("Input", make("p", { className: "said", textContent: displayText(value) }));
  if (entries.length === 1 && typeof entries[0][1] === "string") return valueBlock(entries[0][1]);
  if (isFields && entries.length === 0) return bubble("Input", make("p", { className: "note", textContent: "No fields" }));
  if (entries.length === 0 || entries.length > MAX_FIELDS) return bubble("Input", make("pre", { textContent: displayText(value) }));
  return bubble("Input", make("dl", { className: "fields" }, ...entries.map(([name, part]) => make("div", {},
    make("dt", { textContent: name }),
    fieldValue(part)))));
}

function fieldValue(value) {
  if (value === "") return make("dd", { className: "none", textContent: "empty" });
  return make("dd", {}, typeof value === "object" && value !== null ? make("pre", { textContent: displayText(value) }) : displayText(value));
}

/** Return what else is sent with a message. */
function options(others) {
  const entries = Object.entries(others).slice(0, MAX_FIELDS);
  return make("dl", { className: "options" }, ...entries.map(([name, value]) => make("div", {},
    make("dt", { textContent: name }),
    make("dd", { textContent: (typeof value === "string" ? value : JSON.stringify(value)).slice(0, MAX_OPTION) }))));
}

function bubble(label, content) {
  return make("div", { className: "block bubble" }, make("span", { className: "spoken", textContent: `${label}: ` }), content);
}

/** Return a value with a text in place of each part that its schema says is not to be shown. */
export function masked(value, schema, text, root = schema) {
  if (schema === null || schema === undefined || typeof value !== "object" || value === null) return value;
  const { kind, schema: known } = kindOf(schema, root);
  if (kind === "array" && Array.isArray(value)) return value.map((item) => masked(item, known.items, text, root));
  if (known.properties === undefined || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([name, part]) => {
    const own = Object.hasOwn(known.properties, name) ? known.properties[name] : null;
    return [name, own !== null && isSecret(kindOf(own, root).schema) ? text : masked(part, own, text, root)];
  }));
}
