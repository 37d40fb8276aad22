// The request body: a form made from `io_schema.input`, and a JSON editor, kept in sync with each other.

import { byId, make } from "./dom.js";
import { field } from "./fields.js";
import { initial } from "./schema.js";

const fields = byId("fields");
const editor = byId("editor");
const payload = byId("payload");
const problem = byId("problem");
const NOT_JSON = "This is not valid JSON: ";

let root = null;

/** Make the form for a schema, null for none. */
export function show(schema) {
  const value = schema === null ? {} : initial(schema, schema);
  root = schema === null ? null : field(schema, {
    label: schema.title ?? "Input", path: "$", required: true, root: schema, depth: 0, changed: write,
  });
  root?.set(value);
  fields.replaceChildren(...(root === null ? [] : [root.element]));
  payload.value = JSON.stringify(value ?? null, null, 2);
  editor.open = fields.querySelector("input, textarea, select, button") === null;
}

/** Return the body to send, or null after showing why it is not JSON. */
export function body() {
  showParts([]);
  return read() ? payload.value : null;
}

/** Show an error and, if the service lists violations in `details`, those. */
export function showProblem(message, details) {
  const violations = Array.isArray(details) ? details : [];
  showParts([
    make("p", { textContent: message }),
    make("ul", {}, ...violations.map(({ path, message }) => make("li", {}, make("code", { textContent: path }), ` ${message}`))),
  ]);
  const invalid = new Set(violations.map(({ path }) => path));
  const controls = [...fields.querySelectorAll("[data-path]")].filter((control) => invalid.has(control.dataset.path));
  for (const control of controls) control.setAttribute("aria-invalid", "true");
  controls[0]?.focus();
}

function showParts(parts) {
  problem.replaceChildren(...parts);
  for (const control of fields.querySelectorAll("[aria-invalid]")) control.removeAttribute("aria-invalid");
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
