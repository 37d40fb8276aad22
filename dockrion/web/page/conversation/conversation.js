// The conversation that is shown: the turns before, what the run was asked, what it says, and what it returns.

import { byId, make } from "../dom.js";
import * as form from "../request/form.js";
import { hasSecret } from "../request/schema.js";
import * as chat from "./chat.js";
import * as output from "./output.js";
import { lastQuestion, messagesOf } from "./messages.js";
import { inputBlocks, masked, messageBlocks } from "./question.js";
import * as transcript from "./transcript.js";

const MAX_ANNOUNCED = 500; // characters of an answer that a screen reader reads by itself
const MAX_EARLIER = 500; // blocks
const part = byId("conversation");
const scroller = byId("transcript");
const earlier = byId("earlier");
const question = byId("question");
const actions = byId("question-actions");
const again = byId("ask-again");

let ask = null;
let schema = null;
let input = null; // of the run that is shown, null if it is not known
let isOver = false;

/** Set `run(body, turn)`, which starts a run and may throw, and `leave()`, which shows none. */
export function connect(run, leave) {
  ask = run;
  chat.connect(run, answer);
  byId("new-conversation").addEventListener("click", () => {
    leave();
    byId("message-text").focus();
  });
}

/** Read from `/schema` how the input is shown and whether there is a chat, and return the schema of the form. */
export function configure(schemas) {
  schema = schemas.input_schema ?? null;
  const rest = chat.configure(schemas);
  if (part.hidden) showEmpty();
  else byId("new-conversation").hidden = !chat.isOffered();
  return rest;
}

/** Return an input without what its schema says is not to be shown. */
export function withoutSecrets(body) {
  return masked(body, schema, "");
}

export function isChat() {
  return chat.isOffered();
}

/** Send the message in the message box of a chat. */
export function sendMessage() {
  chat.send();
}

/** Begin a turn: "new" begins a conversation, "append" continues it, and "replace" does so without its last turn. */
export function begin(turn, body) {
  if (turn === "new") empty();
  if (turn === "append") archive();
  part.hidden = false;
  byId("no-conversation").hidden = true;
  byId("new-conversation").hidden = !chat.isOffered();
  isOver = false;
  showInput(body, turn === "new");
  scroller.scrollTop = scroller.scrollHeight;
}

/** Show no run. */
export function leave() {
  empty();
  isOver = true;
  showInput(null, false);
  showEmpty();
}

/** Show the input that is stored with the run, null if none is, unless it is known. */
export function showStored(stored) {
  if (input !== null) return;
  if (stored === null) question.replaceChildren(make("p", { className: "note", textContent: "The input of this run is not stored." }));
  else showInput(stored, true);
  showThread();
  again.hidden = hasSecret(schema); // a stored input has none
}

function showInput(body, whole) {
  input = body;
  const blocks = body === null ? { before: [], question: [] } : inputBlocks(body, schema);
  if (whole) earlier.append(...blocks.before);
  question.replaceChildren(...blocks.question);
  actions.hidden = body === null;
  again.hidden = false;
  chat.begin(body, !isOver);
}

export function clear() {}

export function add() {}

export function end() {
  isOver = true;
  showThread();
  chat.end();
  if (chat.isOffered()) byId("announcement").textContent = answer().slice(0, MAX_ANNOUNCED);
}

/** Show the messages before the question that only the output has: those that the run's thread has remembered. */
function showThread() {
  const messages = output.messages();
  if (messages === null || messagesOf(input)?.length !== 1 || earlier.childElementCount > 0) return;
  transcript.change(() => earlier.append(...messageBlocks(messages.slice(0, lastQuestion(messages)))));
}

/** Return the text of what the run that is shown has answered. */
function answer() {
  return output.said() ?? transcript.said();
}

function showEmpty() {
  part.hidden = !chat.isOffered();
  byId("no-conversation").hidden = part.hidden;
  byId("new-conversation").hidden = true;
}

function empty() {
  earlier.replaceChildren();
  scroller.classList.remove("named");
}

/** Move the last turn to those before. */
function archive() {
  earlier.append(...question.children, ...byId("words").children, ...byId("outcome").children);
  if (earlier.childElementCount <= MAX_EARLIER) return;
  while (earlier.childElementCount >= MAX_EARLIER) earlier.firstElementChild.remove();
  earlier.prepend(make("p", { className: "block note", textContent: "What was before is not shown any more." }));
}

again.addEventListener("click", () => {
  if (chat.continues()) chat.askAgain();
  else ask(JSON.stringify(input), "new").catch((error) => form.showProblem(error.message, error.details));
});

byId("edit-and-ask").addEventListener("click", () => {
  if (chat.continues()) chat.editQuestion();
  else form.fill(masked(input, schema, ""));
});
