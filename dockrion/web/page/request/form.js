// The request body: a form made from `io_schema.input`, and a JSON editor, kept in sync with each other.

import { byId } from "../dom.js";
import { field } from "./fields.js";
import { Problem } from "./problem.js";
import { initial } from "./schema.js";

const fields = byId("fields");
const editor = byId("editor");
const payload = byId("payload");
const problem = new Problem(byId("problem"), fields);
const NOT_JSON = "This is not JSON: ";

let root = null;

/** Make the form for a schema, null for none. Options are what is sent beside something else. */
export function show(schema, isOptions = false) {
  const value = schema === null ? {} : initial(schema, schema);
  root = schema === null ? null : field(schema, {
    label: schema.title ?? "Input", path: "$", required: true, root: schema, depth: 0, changed: write,
  });
  root?.set(value);
  fields.replaceChildren(...(root === null ? [] : [root.element]));
  payload.value = JSON.stringify(value ?? null, null, 2);
  byId("request").classList.toggle("of-options", isOptions);
  byId("request-title").textContent = isOptions ? "Options" : "Request";
  byId("no-schema").hidden = root !== null;
  editor.open = !isOptions && fields.querySelector("input, textarea, select, button") === null;
}

/** Return the body to send, or null after showing what must be corrected before. */
export function body() {
  problem.clear();
  return read() && !problem.showMalformed() ? payload.value : null;
}

/** Fill the form with a body. */
export function fill(value) {
  root?.set(value);
  payload.value = JSON.stringify(value ?? null, null, 2);
  read();
  (fields.querySelector("input, textarea, select") ?? payload).focus();
}

export function clearProblem() {
  problem.clear();
}

/** Show an error and, if the service lists violations in `details`, those. */
export function showProblem(message, details) {
  problem.show(message, details);
}

function write() {
  payload.value = JSON.stringify(root.get() ?? null, null, 2);
  read();
}

/** Read the editor, and return whether it contains JSON. */
function read() {
  let problemText = "";
  try {
    const value = JSON.parse(payload.value);
    if (document.activeElement === payload) root?.set(value);
  } catch (error) {
    problemText = NOT_JSON + error.message;
    editor.open = true;
  }
  byId("payload-problem").textContent = problemText;
  payload.setAttribute("aria-invalid", String(problemText !== ""));
  return problemText === "";
}

payload.addEventListener("input", read);
