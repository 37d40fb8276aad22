// What is sent: a form made from `io_schema.input` and an editor for its JSON, each kept in step with the other.

import { byId, make } from "./dom.js";
import { field } from "./fields.js";
import { initial } from "./schema.js";

const fields = byId("fields");
const editor = byId("editor");
const payload = byId("payload");
const problem = byId("problem");
const NOT_JSON = "This is not valid JSON: ";

let root = null;

/** Make the form of a schema, or of none. */
export function show(schema) {
  const begun = schema === null ? {} : initial(schema, schema);
  root = schema === null ? null : field(schema, {
    label: schema.title ?? "Input", path: "$", required: true, root: schema, depth: 0, changed: write,
  });
  root?.set(begun);
  fields.replaceChildren(...(root === null ? [] : [root.element]));
  payload.value = JSON.stringify(begun ?? null, null, 2);
  editor.open = fields.querySelector("input, textarea, select, button") === null;
}

/** Return the body to send, or null, and say why, where it is not JSON. */
export function body() {
  say([]);
  return read() ? payload.value : null;
}

/** Say what is wrong: a sentence, and where the service named places, those. */
export function refuse(message, details) {
  const places = Array.isArray(details) ? details : [];
  say([
    make("p", { textContent: message }),
    make("ul", {}, ...places.map(({ path, message }) => make("li", {}, make("code", { textContent: path }), ` ${message}`))),
  ]);
  const wrong = new Set(places.map(({ path }) => path));
  const controls = [...fields.querySelectorAll("[data-path]")].filter((control) => wrong.has(control.dataset.path));
  for (const control of controls) control.setAttribute("aria-invalid", "true");
  controls[0]?.focus();
}

function say(parts) {
  problem.replaceChildren(...parts);
  for (const control of fields.querySelectorAll("[aria-invalid]")) control.removeAttribute("aria-invalid");
}

function write() {
  payload.value = JSON.stringify(root.get() ?? null, null, 2);
  read();
}

/** Read the editor; return whether it is JSON. */
function read() {
  let why = "";
  try {
    const value = JSON.parse(payload.value);
    if (document.activeElement === payload) root?.set(value);
  } catch (error) {
    why = NOT_JSON + error.message;
    editor.open = true;
  }
  byId("payload-problem").textContent = why;
  payload.setAttribute("aria-invalid", String(why !== ""));
  return why === "";
}

payload.addEventListener("input", read);
