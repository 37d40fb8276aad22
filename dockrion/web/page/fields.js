// Fields for a JSON Schema. Each has an `element`, and `get` returns exactly what `set` was given until it is edited.

import { make } from "./dom.js";
import { described, initial, kindOf, MOST_DEEP } from "./schema.js";

const ONE_LINE = 200; // characters
let made = 0;

/**
 * Make the field of a schema.
 *
 * `place` says where it stands: `label`, `path` (as in the service's errors), `required`, `root` (the whole schema),
 * `depth`, and `changed`, called after each edit.
 */
export function field(schema, place) {
  const { kind, schema: known } = kindOf(schema, place.root);
  if (place.depth > MOST_DEEP) return KINDS.json(known, place);
  return (place.required ? KINDS[kind] : (OPTIONAL[kind] ?? KINDS[kind]))(known, place);
}

const KINDS = {
  string(schema, place) {
    const long = !(schema.maxLength <= ONE_LINE) && schema.format === undefined;
    const control = long ? make("textarea", { rows: 2 }) : make("input", { type: "text" });
    const read = () => (control.value === "" && !place.required ? undefined : control.value);
    return leaf(schema, place, control, read, (value) => (control.value = typeof value === "string" ? value : ""));
  },

  number(schema, place) {
    const control = make("input", { type: "number", step: schema.type === "integer" ? 1 : "any" });
    if (schema.minimum !== undefined) control.min = schema.minimum;
    if (schema.maximum !== undefined) control.max = schema.maximum;
    const read = () => (control.value === "" ? undefined : Number(control.value));
    return leaf(schema, place, control, read, (value) => (control.value = typeof value === "number" ? value : ""));
  },

  flag(schema, place) {
    const control = make("input", { type: "checkbox" });
    return leaf(schema, place, control, () => control.checked, (value) => (control.checked = value === true));
  },

  choice(schema, place) {
    const named = (value) => (typeof value === "string" ? value : JSON.stringify(value));
    const control = make("select", {}, make("option", { textContent: "" }));
    control.append(...schema.enum.map((value) => make("option", { textContent: named(value) })));
    const read = () => (control.selectedIndex < 1 ? undefined : schema.enum[control.selectedIndex - 1]);
    const write = (value) => (control.selectedIndex = 1 + schema.enum.findIndex((each) => named(each) === named(value)));
    return leaf(schema, place, control, read, write);
  },

  json(schema, place) {
    const control = make("textarea", { rows: 3, spellcheck: false, className: "code" });
    const read = () => {
      control.setCustomValidity("");
      try {
        return control.value.trim() === "" ? undefined : JSON.parse(control.value);
      } catch (error) {
        control.setCustomValidity(error.message);
        return control.value; // text, until it is JSON
      }
    };
    const write = (value) => (control.value = value === undefined ? "" : JSON.stringify(value, null, 2));
    return leaf({ ...schema, description: ["JSON.", schema.description].join(" ") }, place, control, read, write);
  },

  object(schema, place) {
    const needed = new Set(schema.required);
    let whole; // what was set, as long as it is no object; else what has no field
    const changed = () => {
      if (!isObject(whole)) whole = {};
      place.changed();
    };
    const parts = Object.entries(schema.properties).map(([name, part]) => [name, field(part, {
      ...place, label: part.title ?? name, path: `${place.path}.${name}`, required: needed.has(name),
      depth: place.depth + 1, changed,
    })]);
    const names = new Set(parts.map(([name]) => name));
    return {
      element: group(schema, place, parts.map(([, part]) => part.element)),
      get() {
        if (!isObject(whole)) return whole;
        const values = parts.map(([name, part]) => [name, part.get()]).filter(([, value]) => value !== undefined);
        return Object.fromEntries([...Object.entries(whole), ...values]);
      },
      set(value) {
        const entries = isObject(value) ? Object.entries(value) : [];
        whole = isObject(value) ? Object.fromEntries(entries.filter(([name]) => !names.has(name))) : value;
        const given = new Map(entries);
        for (const [name, part] of parts) part.set(given.get(name));
      },
    };
  },

  array(schema, place) {
    const list = make("div");
    const add = make("button", { type: "button", className: "quiet", textContent: `Add to ${place.label}` });
    let whole; // what was set, as long as it is no array
    let items = [];
    const changed = () => {
      whole = [];
      add.disabled = items.length >= schema.maxItems;
      place.changed();
    };
    const append = (value) => {
      const label = `${place.label} ${items.length + 1}`;
      const path = `${place.path}[${items.length}]`;
      const item = field(schema.items, { ...place, label, path, required: true, depth: place.depth + 1, changed });
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
      append(initial(schema.items, place.root));
      changed();
      list.lastElementChild.querySelector("input, textarea, select, button").focus();
    });
    return {
      element: group(schema, place, [list, add]),
      get: () => (Array.isArray(whole) ? items.map((item) => item.get()) : whole),
      set(value) {
        whole = value;
        draw(Array.isArray(value) ? value : []);
      },
    };
  },
};

const OPTIONAL = { flag: KINDS.choice, object: addable, array: addable };

/** Make the field of something with parts that need not be there: a button, until it is. */
function addable(schema, place) {
  const element = make("div");
  const add = make("button", { type: "button", className: "quiet", textContent: `Add ${place.label}` });
  let inner = null;
  const set = (value) => {
    inner = value === undefined ? null : field(schema, { ...place, required: true });
    inner?.set(value);
    element.replaceChildren(inner === null ? add : removable(inner.element, place.label, () => change(undefined)));
  };
  const change = (value) => {
    set(value);
    place.changed();
    element.querySelector("input, textarea, select, button").focus();
  };
  add.addEventListener("click", () => change(initial(schema, place.root)));
  set(undefined);
  return { element, get: () => inner?.get(), set };
}

function leaf(schema, place, control, read, write) {
  let value;
  control.addEventListener("input", () => {
    value = read();
    place.changed();
  });
  return {
    element: labelled(schema, place, control),
    get: () => value,
    set(next) {
      value = next;
      write(next);
    },
  };
}

function labelled(schema, place, control) {
  control.id = `field-${(made += 1)}`;
  control.required = place.required && control.type !== "checkbox";
  control.dataset.path = place.path;
  const label = make("label", { htmlFor: control.id, textContent: place.label });
  if (!place.required) label.append(make("span", { className: "note", textContent: " optional" }));
  const hint = make("p", { id: `${control.id}-hint`, className: "note", textContent: described(schema) });
  control.setAttribute("aria-describedby", hint.id);
  const parts = control.type === "checkbox" ? [control, label] : [label, control];
  return make("div", { className: "field" }, ...parts, hint);
}

function group(schema, place, elements) {
  if (place.depth === 0) return make("div", {}, ...elements);
  const hint = schema.description === undefined ? [] : [make("p", { className: "note", textContent: schema.description })];
  return make("fieldset", {}, make("legend", { textContent: place.label }), ...hint, ...elements);
}

function removable(element, label, remove) {
  const button = make("button", { type: "button", className: "quiet", textContent: `Remove ${label}` });
  button.addEventListener("click", remove);
  return make("div", { className: "removable" }, element, button);
}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
