// Form fields for a JSON Schema. Each has an `element`; `get` returns exactly the value of `set` until the user edits it.

import { make } from "../dom.js";
import { broken, described, initial, isSecret, kindOf, MAX_DEPTH } from "./schema.js";

const ONE_LINE = 200; // characters
const explanations = new WeakMap(); // by element, the function that says what is wrong with the field's value
let fieldCount = 0;

/**
 * Make the field of a schema.
 *
 * `context` has `label`, `path` (as in the service's errors), `required`, `root` (the whole schema),
 * `depth`, `secret` (what is typed is not shown), and `changed`, called after each edit.
 */
export function field(schema, context) {
  const { kind, schema: known } = kindOf(schema, context.root);
  const place = { ...context, secret: context.secret || isSecret(known) };
  if (context.depth > MAX_DEPTH) return KINDS.json(known, place);
  return (context.required ? KINDS[kind] : (OPTIONAL[kind] ?? KINDS[kind]))(known, place);
}

/** Return what is wrong with the value of a field, in words; null if its schema does not tell. */
export function explain(element) {
  return explanations.get(element)();
}

/** Show at a field why its value is refused; an empty text says that it is not. */
export function refuse(element, text) {
  element.querySelector(":scope > .problem").textContent = text;
  const control = element.querySelector(":scope > :is(input, textarea, select)");
  if (text === "") control?.removeAttribute("aria-invalid");
  else control?.setAttribute("aria-invalid", "true");
}

const KINDS = {
  string(schema, context) {
    const long = !(schema.maxLength <= ONE_LINE) && schema.format === undefined;
    const control = context.secret ? hiddenInput() : long ? make("textarea", { rows: 2 }) : make("input", { type: "text" });
    const read = () => (control.value === "" && !context.required ? undefined : control.value);
    return leaf(schema, context, control, read, (value) => (control.value = typeof value === "string" ? value : ""));
  },

  number(schema, context) {
    const step = schema.type === "integer" ? 1 : "any";
    const control = context.secret ? hiddenInput() : make("input", { type: "number", step });
    if (schema.minimum !== undefined) control.min = schema.minimum;
    if (schema.maximum !== undefined) control.max = schema.maximum;
    const read = () => (control.value === "" ? undefined : Number(control.value));
    return leaf(schema, context, control, read, (value) => (control.value = typeof value === "number" ? value : ""));
  },

  flag(schema, context) {
    const control = make("input", { type: "checkbox" });
    return leaf(schema, context, control, () => control.checked, (value) => (control.checked = value === true));
  },

  choice(schema, context) {
    const named = (value) => (typeof value === "string" ? value : JSON.stringify(value));
    const control = make("select", {}, make("option", { textContent: "" }));
    control.append(...schema.enum.map((value) => make("option", { textContent: named(value) })));
    const read = () => (control.selectedIndex < 1 ? undefined : schema.enum[control.selectedIndex - 1]);
    const write = (value) => (control.selectedIndex = 1 + schema.enum.findIndex((each) => named(each) === named(value)));
    return leaf(schema, context, control, read, write);
  },

  json(schema, context) {
    const control = context.secret ? hiddenInput() : make("textarea", { rows: 3, spellcheck: false, className: "code" });
    const read = () => {
      control.setCustomValidity("");
      try {
        return control.value.trim() === "" ? undefined : JSON.parse(control.value);
      } catch (error) {
        control.setCustomValidity(context.secret ? "This is not JSON." : `This is not JSON: ${error.message}.`);
        return control.value; // as text, until it is JSON
      }
    };
    const write = (value) => {
      control.setCustomValidity("");
      control.value = value === undefined ? "" : JSON.stringify(value, null, 2);
    };
    return leaf({ ...schema, description: ["JSON.", schema.description].filter(Boolean).join(" ") }, context, control, read, write);
  },

  object(schema, context) {
    const needed = new Set(schema.required);
    let whole; // the value that was set: itself if it is not an object, else its properties without a field
    const changed = () => {
      if (!isObject(whole)) whole = {};
      context.changed();
    };
    const parts = Object.entries(schema.properties).map(([name, part]) => [name, field(part, {
      ...context, label: part.title ?? name, path: `${context.path}.${name}`, required: needed.has(name),
      depth: context.depth + 1, changed,
    })]);
    const names = new Set(parts.map(([name]) => name));
    const get = () => {
      if (!isObject(whole)) return whole;
      const values = parts.map(([name, part]) => [name, part.get()]).filter(([, value]) => value !== undefined);
      return Object.fromEntries([...Object.entries(whole), ...values]);
    };
    return {
      element: group(schema, context, parts.map(([, part]) => part.element), get),
      get,
      set(value) {
        const entries = isObject(value) ? Object.entries(value) : [];
        whole = isObject(value) ? Object.fromEntries(entries.filter(([name]) => !names.has(name))) : value;
        const given = new Map(entries);
        for (const [name, part] of parts) part.set(given.get(name));
      },
    };
  },

  array(schema, context) {
    const list = make("div");
    const add = make("button", { type: "button", className: "quiet", textContent: `Add to ${context.label}` });
    let whole; // the value that was set, until the list is edited
    let items = [];
    const changed = () => {
      whole = [];
      add.disabled = items.length >= schema.maxItems;
      context.changed();
    };
    const append = (value) => {
      const label = `${context.label} ${items.length + 1}`;
      const path = `${context.path}[${items.length}]`;
      const item = field(schema.items, { ...context, label, path, required: true, depth: context.depth + 1, changed });
      item.set(value);
      const row = removable(item.element, label, () => {
        draw(items.filter((each) => each !== item).map((each) => each.get()));
        changed();
        add.focus();
      });
      items.push(item);
      list.append(row);
    };
    const draw = (values) => {
      items = [];
      list.replaceChildren();
      values.forEach(append);
    };
    add.addEventListener("click", () => {
      append(initial(schema.items, context.root));
      changed();
      list.lastElementChild.querySelector("input, textarea, select, button").focus();
    });
    const get = () => (Array.isArray(whole) ? items.map((item) => item.get()) : whole);
    return {
      element: group(schema, context, [list, add], get),
      get,
      set(value) {
        whole = value;
        draw(Array.isArray(value) ? value : []);
      },
    };
  },
};

const OPTIONAL = { flag: KINDS.choice, object: addable, array: addable };

/** Make the field of an optional object or array: a button until it is added. */
function addable(schema, context) {
  const element = make("div");
  const add = make("button", { type: "button", className: "quiet", textContent: `Add ${context.label}` });
  let inner = null;
  const set = (value) => {
    inner = value === undefined ? null : field(schema, { ...context, required: true });
    inner?.set(value);
    element.replaceChildren(inner === null ? add : removable(inner.element, context.label, () => change(undefined)));
  };
  const change = (value) => {
    set(value);
    context.changed();
    element.querySelector("input, textarea, select, button").focus();
  };
  add.addEventListener("click", () => change(initial(schema, context.root)));
  set(undefined);
  return { element, get: () => inner?.get(), set };
}

function hiddenInput() {
  return make("input", { type: "password", autocomplete: "off", spellcheck: false });
}

function leaf(schema, context, control, read, write) {
  let value;
  const get = () => value;
  const element = labelled(schema, context, control, get);
  control.addEventListener("input", () => {
    value = read();
    refuse(element, "");
    context.changed();
  });
  return {
    element,
    get,
    set(next) {
      value = next;
      write(next);
    },
  };
}

function labelled(schema, context, control, get) {
  control.id = `field-${(fieldCount += 1)}`;
  control.required = context.required && control.type !== "checkbox";
  const label = make("label", { htmlFor: control.id, textContent: context.label });
  if (!context.required) label.append(make("span", { className: "note", textContent: " optional" }));
  const hint = make("p", { id: `${control.id}-hint`, className: "note", textContent: described(schema) });
  const problem = make("p", { id: `${control.id}-problem`, className: "problem" });
  control.setAttribute("aria-describedby", `${problem.id} ${hint.id}`);
  const parts = control.type === "checkbox" ? [control, label] : [label, control];
  return refusable(make("div", { className: "field" }, ...parts, problem, hint), schema, context, get);
}

function group(schema, context, elements, get) {
  if (context.depth === 0) return make("div", {}, ...elements);
  const hint = schema.description === undefined ? [] : [make("p", { className: "note", textContent: schema.description })];
  const problem = make("p", { id: `field-${(fieldCount += 1)}-problem`, className: "problem" });
  const element = make("fieldset", {}, make("legend", { textContent: context.label }), ...hint, problem, ...elements);
  element.setAttribute("aria-describedby", problem.id);
  return refusable(element, schema, context, get);
}

function refusable(element, schema, context, get) {
  element.dataset.path = context.path;
  explanations.set(element, () => broken(schema, get()));
  return element;
}

function removable(element, label, remove) {
  const button = make("button", { type: "button", className: "quiet", textContent: `Remove ${label}` });
  button.addEventListener("click", remove);
  return make("div", { className: "removable" }, element, button);
}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
