// Forms for what the agent asks. A form is removed when its question is answered, here or elsewhere.

import { clockOffset, HttpError } from "../api.js";
import { byId, displayText, make } from "../dom.js";
import { field } from "../request/fields.js";
import { Problem } from "../request/problem.js";
import { hasSecret, initial, isSecret, kindOf, MAX_FIELDS, sizeOf } from "../request/schema.js";

const MAX_FORMS = 20;
const TEXT_OR_JSON = { type: "string", description: "Text, or JSON." };
const part = byId("questions");
const list = part.querySelector("ol");

const open = new Map(); // by request_id: `{question, item, recorded}`, whose list item is null while there are too many
let send = null;
let formCount = 0;

/** Set `respond(requestId, value, secret)`, which sends an answer; null where the service takes none. */
export function answerWith(respond) {
  send = respond;
}

export function isWaiting() {
  return open.size > 0;
}

export function clear() {
  for (const requestId of [...open.keys()]) close(requestId);
}

export function add(frames) {
  for (const { id, event, data } of frames) {
    if (id === null) continue;
    if (event === "input_requested") ask(data);
    if (event === "input_received") close(data.request_id);
  }
}

/** Show that nothing follows: no question can be answered. */
export function end() {
  clear();
}

/** Show a question: `{request_id, prompt, schema, expires_at}`. */
function ask(question, recorded = false) {
  if (open.has(question.request_id)) return;
  open.set(question.request_id, { question, item: null, recorded });
  draw();
  announce(`The agent asks: ${displayText(question.prompt)}`);
}

/** Show the oldest open question, as the run's record has it, or that there is none. */
export function showOldest(oldest) {
  const known = open.has(oldest?.request_id);
  for (const [requestId, { recorded }] of open) {
    if (requestId === oldest?.request_id) break;
    if (oldest === null || known || recorded) close(requestId);
  }
  if (oldest !== null) ask(oldest, true);
}

/** Remove a question. */
function close(requestId) {
  const item = open.get(requestId)?.item;
  const hadFocus = item?.contains(document.activeElement);
  open.delete(requestId);
  item?.remove();
  draw();
  if (hadFocus) byId("run").focus();
}

/** Remove the questions whose time is over. */
export function expire() {
  const now = Date.now() + clockOffset();
  for (const [requestId, { question }] of open) {
    if (question.expires_at !== null && Date.parse(question.expires_at) < now) close(requestId);
  }
}

function draw() {
  part.hidden = open.size === 0;
  for (const asked of [...open.values()].slice(0, MAX_FORMS)) {
    if (asked.item === null) list.append((asked.item = make("li", {}, form(asked.question))));
  }
}

function announce(text) {
  byId("announcement").textContent = text;
}

function form(question) {
  const heading = make("h4", { id: `question-${(formCount += 1)}`, textContent: displayText(question.prompt) });
  const time = question.expires_at === null ? "" : `Until ${new Date(Date.parse(question.expires_at) - clockOffset()).toLocaleString()}.`;
  const { element, read, buttons } = answerField(question.schema);
  const problem = make("div", { className: "problem", role: "alert" });
  const parts = send === null
    ? [make("p", { className: "note", textContent: "This service takes no answers." })]
    : [element, problem, make("div", { className: "actions" }, ...buttons)];
  const whole = make("form", { autocomplete: "off", noValidate: true }, heading, make("p", { className: "note", textContent: time }), ...parts);
  whole.setAttribute("aria-labelledby", heading.id);
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
  return { element: answer.element, read: given === null ? () => jsonOrText(value()) : value, buttons: [button("Answer", "")] };
}

function answerSchema(given) {
  if (given === null) return TEXT_OR_JSON;
  if (sizeOf(given) > MAX_FIELDS) return { writeOnly: isSecret(given) };
  return isSecret(given) ? { type: "string", ...given } : given;
}

function button(textContent, value) {
  return make("button", { type: "submit", textContent, value });
}

function jsonOrText(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

async function submit(question, form, problem, read) {
  const malformed = [...form.elements].find((control) => control.validity.customError);
  problem.clear();
  if (malformed) {
    problem.show(malformed.validationMessage);
    malformed.focus();
    return;
  }
  if (form.ariaBusy === "true") return;
  form.ariaBusy = "true";
  try {
    await send(question.request_id, read(), hasSecret(question.schema));
    close(question.request_id);
    announce("Answered.");
  } catch (error) {
    if (error instanceof HttpError && error.status === 409) {
      close(question.request_id);
      announce("This has been answered already, or is no longer asked.");
    } else problem.show(error.message, error.details);
  }
  form.ariaBusy = "false";
}
