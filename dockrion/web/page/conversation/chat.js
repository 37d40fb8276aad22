// The message box of agents whose input is a conversation. What it sends carries the conversation that is shown.

import { byId } from "../dom.js";
import * as form from "../request/form.js";
import { Problem } from "../request/problem.js";
import { contentText, lastQuestion, messageFormat, messagesOf } from "./messages.js";

const box = byId("message");
const field = byId("message-text");
const sendButton = byId("message-send");
const editNote = byId("message-editing");
const problem = new Problem(byId("message-problem"), byId("fields"));

let format = null; // of the agent's messages, null if it takes none
let keepsThreads = false;
let ask = null;
let answer = null;
let asked = null; // the input of the run that is shown, if it has messages
let isWorking = false;
let isEditing = false;

/** Set `run(body, turn)`, which starts a run and may throw, and `said()`, which returns what the shown run answered. */
export function connect(run, said) {
  ask = run;
  answer = said;
}

/** Show the message box if `/schema` has messages, and return the schema of the other fields. */
export function configure({ input_schema: schema = null, threads = false }) {
  format = messageFormat(schema);
  keepsThreads = threads;
  box.hidden = format === null;
  if (format === null) return schema;
  const { messages, ...properties } = schema.properties;
  return { ...schema, type: "object", properties, required: (schema.required ?? []).filter((name) => name !== "messages") };
}

export function isOffered() {
  return format !== null;
}

/** A run with this input is shown, null if it is not known or none is shown. */
export function begin(input, working) {
  asked = messagesOf(input) === null ? null : input;
  isWorking = working;
  edit(null);
}

/** The run that is shown is over. */
export function end() {
  isWorking = false;
  draw();
}

/** Return whether the run that is shown is part of a conversation that can be continued. */
export function continues() {
  return format !== null && asked !== null;
}

/** Send what is in the message box; without a message, move the focus there. */
export function send() {
  if (field.value.trim() === "") field.focus();
  else box.requestSubmit();
}

/** Ask the last question of the shown run again. */
export function askAgain() {
  return submit(question(), true);
}

/** Let the user change the last question of the shown run. */
export function editQuestion() {
  edit(contentText(question().content));
  field.focus();
}

function question() {
  const messages = messagesOf(asked);
  return messages[lastQuestion(messages)] ?? messages.at(-1);
}

function edit(text) {
  isEditing = text !== null;
  if (isEditing) field.value = text;
  draw();
}

function draw() {
  editNote.hidden = !isEditing;
  editNote.firstElementChild.textContent = thread(asked) === undefined
    ? "This replaces your last question and its answer."
    : "The thread remembers your last question: this is sent as another one.";
  sendButton.disabled = isWorking || box.ariaBusy === "true";
  field.placeholder = asked === null ? "Ask something" : "Ask a follow-up";
}

/** Send a message of the user, in place of the last one or after the answer. */
async function submit(message, replaces) {
  problem.clear();
  const options = readOptions();
  if (options === null || box.ariaBusy === "true") return false;
  const turn = asked === null ? "new" : replaces && thread(asked) === undefined ? "replace" : "append";
  box.ariaBusy = "true";
  draw();
  try {
    await ask(JSON.stringify(compose(options, message, turn)), turn);
    return true;
  } catch (error) {
    problem.show(error.message, error.details);
    return false;
  } finally {
    box.ariaBusy = "false";
    draw();
  }
}

/** Return what is sent beside the messages, null after showing what must be corrected before. */
function readOptions() {
  const body = form.body();
  if (body === null) return null;
  const options = JSON.parse(body);
  if (typeof options === "object" && options !== null && !Array.isArray(options)) return options;
  problem.show("The options must be a JSON object.");
  return null;
}

/** Return the body that continues the conversation. A thread remembers it, else the body repeats it. */
function compose(options, message, turn) {
  const known = thread(asked);
  const carried = turn === "new" || known !== undefined ? [] : before(turn);
  const body = { ...options, messages: [...carried, message] };
  if (!keepsThreads) return body;
  const configurable = { thread_id: known ?? newThread(), ...options._config?.configurable };
  return { ...body, _config: { ...options._config, configurable } };
}

function before(turn) {
  const messages = messagesOf(asked);
  if (turn === "replace") return messages.slice(0, lastQuestion(messages));
  const said = answer();
  return said === "" ? messages : [...messages, { role: format.assistant, content: content(said) }];
}

function content(text) {
  return format.isBlocks ? [{ type: "text", text }] : text;
}

function thread(input) {
  return keepsThreads ? input?._config?.configurable?.thread_id : undefined;
}

/** Return an id that nobody guesses; `crypto.randomUUID` needs a secure context, which HTTP is not. */
function newThread() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

box.addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = field.value;
  if (isWorking || text.trim() === "") return;
  field.value = "";
  if (await submit({ role: format.user, content: content(text) }, isEditing)) field.focus();
  else field.value ||= text;
});

field.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  box.requestSubmit();
});

byId("message-keep").addEventListener("click", () => {
  field.value = "";
  edit(null);
  field.focus();
});
