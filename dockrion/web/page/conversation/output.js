// What a run returns: its output, where it is not what was said already, or its error.

import { byId, copyButton, displayText, make } from "../dom.js";
import { Markdown } from "./markdown.js";
import { messagesOf, outputText } from "./messages.js";
import * as transcript from "./transcript.js";

const MAX_LINE = 80; // characters
const part = byId("outcome");

let value = null; // the output

export function clear() {
  value = null;
  part.replaceChildren();
}

export function add(frames) {
  for (const { id, event, data } of frames) {
    if (id === null) continue;
    if (event === "complete") complete(data.output);
    if (event === "error") fail(data);
  }
}

export function end() {}

/** Return the text of the output, null if it has none. */
export function said() {
  return outputText(value);
}

/** Return the messages of the output, null if it has none. */
export function messages() {
  return messagesOf(value);
}

/** Show an output. */
export function complete(output) {
  value = output;
  const text = outputText(output);
  const isWhole = typeof output === "string" || text !== null && Object.keys(output).length === 1;
  if (text !== null && !transcript.hasSaid(text)) append(markdownBlock(text));
  if (text !== null && !isWhole) append(folded(output));
  if (text === null && (output !== null || !transcript.hasSaid())) append(json(output));
}

/** Show an error: `{error, code, details}`. */
export function fail({ error, code, details }) {
  const parts = [make("p", { className: "said", textContent: displayText(error) })];
  if (details !== null && details !== undefined) parts.push(make("pre", { textContent: detailsText(details) }));
  const heading = make("h4", {}, "Error ", make("code", { textContent: code ?? "" }));
  append(make("div", { className: "block failure" }, heading, ...parts));
}

function append(block) {
  transcript.change(() => part.append(block));
}

function detailsText(details) {
  const line = JSON.stringify(details);
  return line.length > MAX_LINE ? displayText(details) : line;
}

function markdownBlock(source) {
  const markdown = new Markdown();
  markdown.append(displayText(source));
  markdown.end();
  return make("div", { className: "block" }, markdown.element);
}

function folded(output) {
  const details = make("details", { className: "block folded" }, make("summary", {}, "Whole output"));
  details.addEventListener("toggle", () => details.append(json(output)), { once: true });
  return details;
}

function json(output) {
  const shown = make("pre", { className: "scroll", tabIndex: 0, role: "region", ariaLabel: "Output as JSON", textContent: displayText(output) });
  const head = make("div", { className: "head" }, make("span", { className: "note", textContent: "Output" }), copyButton(() => JSON.stringify(output, null, 2), shown));
  return make("div", { className: "block result" }, head, shown);
}
