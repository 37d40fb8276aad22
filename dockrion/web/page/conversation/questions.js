// What the agent asks: a card in the transcript, with a form until the question is answered, here or elsewhere.

import { clockOffset, HttpError } from "../api.js";
import { byId, displayText, make } from "../dom.js";
import { field } from "../request/fields.js";
import { Problem } from "../request/problem.js";
import { hasSecret, initial, isSecret, kindOf, MAX_FIELDS, sizeOf } from "../request/schema.js";
import { Question } from "./blocks.js";
import * as transcript from "./transcript.js";

const MAX_FORMS = 20;
const MAX_ANSWERED = 500;
const MAX_LINE = 2_000; // characters of an answer
const TEXT_OR_JSON = { type: "string", description: "Text, or JSON." };

const open = new Map(); // by request_id: `{question, card, hasForm, recorded}`
const answered = new Map(); // by request_id, the cards of the others
let send = null;
let count = 0;

/** Set `respond(requestId, value, secret)`, which sends an answer; null where the service takes none. */
export function answerWith(respond) {
  send = respond;
}

export function isWaiting() {
  return open.size > 0;
}

export function clear() {
  open.clear();
  answered.clear();
}

export function add() {}

transcript.show("started", start);
transcript.show("input_requested", (event) => ask(event));
transcript.show("input_received", receive);

/** Show that nothing follows: no question can be answered. */
export function end() {
  for (const requestId of [...open.keys()]) close(requestId, "Not answered");
}

/** If the run begins again, nobody waits for what was asked before; the record may be ahead of the events. */
function start({ attempt, previous }) {
  if (attempt === undefined) return;
  for (const [requestId, { recorded }] of [...open]) if (!recorded) close(requestId, "No longer asked");
  transcript.beginAgain(attempt, previous);
}

/** Show a question: `{request_id, prompt, schema, expires_at}`. */
function ask(question, recorded = false) {
  if (open.has(question.request_id) || answered.has(question.request_id)) return;
  const card = new Question(question.prompt, `question-${(count += 1)}`);
  open.set(question.request_id, { question, card, hasForm: false, recorded });
  transcript.change(() => {
    transcript.pin(card);
    draw();
  });
  announce(`The agent asks: ${displayText(question.prompt)}`);
}

/** Show the oldest open question, as the run's record has it, or that there is none. */
export function showOldest(oldest) {
  const known = open.has(oldest?.request_id);
  for (const [requestId, { recorded }] of open) {
    if (requestId === oldest?.request_id) break;
    if (oldest === null || known || recorded) close(requestId, "Answered, or no longer asked");
  }
  if (oldest !== null) ask(oldest, true);
}

function receive({ request_id: requestId, source, value }) {
  const by = source ? ` by ${source}` : "";
  close(requestId, `Answered${by}${value === undefined ? "" : `: ${line(value)}`}`);
}

/** Show in place of a question's form how it ended. */
function close(requestId, text) {
  const card = open.get(requestId)?.card ?? answered.get(requestId);
  if (card === undefined) return;
  const hadFocus = card.element.contains(document.activeElement);
  card.end(text);
  if (open.delete(requestId)) transcript.release(card);
  answered.set(requestId, card);
  if (answered.size > MAX_ANSWERED) answered.delete(answered.keys().next().value);
  draw();
  if (hadFocus) byId("run").focus();
}

/** Close the questions whose time is over. */
export function expire() {
  const now = Date.now() + clockOffset();
  for (const [requestId, { question }] of open) {
    if (question.expires_at !== null && Date.parse(question.expires_at) < now) close(requestId, "Not answered in time");
  }
}

/** Show the forms of the oldest questions. */
function draw() {
  for (const asked of [...open.values()].slice(0, MAX_FORMS)) {
    if (!asked.hasForm) asked.card.show(form(asked));
    asked.hasForm = true;
  }
}

function line(value) {
  return (typeof value === "string" ? value : JSON.stringify(value)).slice(0, MAX_LINE);
}

function announce(text) {
  byId("announcement").textContent = text;
}

function form({ question, card }) {
  const time = question.expires_at === null ? "" : `Until ${new Date(Date.parse(question.expires_at) - clockOffset()).toLocaleString()}.`;
  const { element, read, buttons } = answerField(question.schema);
  const problem = make("div", { className: "problem", role: "alert" });
  const parts = send === null
    ? [make("p", { className: "note", textContent: "This service takes no answers." })]
    : [element, problem, make("div", { className: "actions" }, ...buttons)];
  const whole = make("form", { autocomplete: "off", noValidate: true }, make("p", { className: "note", textContent: time }), ...parts);
  whole.setAttribute("aria-labelledby", card.headingId);
  whole.addEventListener("submit", (event) => {
    event.preventDefault();
    submit(question, whole, new Problem(problem, element), () => read(event.submitter));
  });
  return whole;
}

/** Return the `element` with an answer's fields, `read(submitter)` for its value, and the buttons that submit it. */
function answerField(given) {
  const schema = answerSchema(given);
  if (kindOf(schema, schema).kind === "flag") {
    const note = make("p", { className: "note", textContent: schema.description ?? "" });
    return { element: note, read: ({ value }) => value === "yes", buttons: [button("Yes", "yes"), button("No", "no")] };
  }
  const answer = field(schema, {
    label: schema.title ?? "Answer", path: "$", required: true, root: schema, depth: 0, changed() {},
  });
  answer.set(initial(schema, schema));
  const value = () => answer.get() ?? null;
  return { element: answer.element, read: given === null ? () => jsonOrText(value()) : value, buttons: [button("Answer", "", "main")] };
}

function answerSchema(given) {
  if (given === null) return TEXT_OR_JSON;
  if (sizeOf(given) > MAX_FIELDS) return { writeOnly: isSecret(given) };
  return isSecret(given) ? { type: "string", ...given } : given;
}

function button(textContent, value, className = "") {
  return make("button", { type: "submit", textContent, value, className });
}

function jsonOrText(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

async function submit(question, form, problem, read) {
  problem.clear();
  if (problem.showMalformed() || form.ariaBusy === "true") return;
  form.ariaBusy = "true";
  const [value, isSecret] = [read(), hasSecret(question.schema)];
  try {
    await send(question.request_id, value, isSecret);
    if (open.has(question.request_id)) close(question.request_id, isSecret ? "Answered" : `Answered: ${line(value)}`);
    announce("Answered.");
  } catch (error) {
    if (error instanceof HttpError && error.status === 409) {
      close(question.request_id, "Answered already, or no longer asked");
      announce("This has been answered already, or is no longer asked.");
    } else problem.show(error.message, error.details);
  }
  form.ariaBusy = "false";
}
