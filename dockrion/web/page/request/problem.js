// What is wrong with the values of a form: beside the fields it is about, in words of the form.

import { make } from "../dom.js";
import { explain, refuse } from "./fields.js";

const REQUIRED = /^"(.*)" is a required property$/s;

/** Shows an error, and marks the fields that it is about. */
export class Problem {
  #element;
  #fields;

  constructor(element, fields) {
    this.#element = element;
    this.#fields = fields;
  }

  /** Show an error and, if the service lists violations in `details`, those. */
  show(message, details) {
    this.clear();
    const others = [];
    for (const violation of Array.isArray(details) ? details : []) {
      const missing = REQUIRED.exec(violation.message)?.[1];
      const path = missing === undefined ? violation.path : `${violation.path}.${missing}`;
      const element = this.#field(path) ?? null;
      if (element === null) others.push(violation);
      else refuse(element, explain(element) ?? violation.message);
    }
    const refused = this.#refused();
    if (others.length > 0 || refused.length === 0) this.#element.append(make("p", { textContent: message }));
    else this.#summarize(refused.length);
    if (others.length > 0) this.#element.append(make("ul", {}, ...others.map(({ path, message: text }) => item(path, text))));
    focus(refused[0]);
  }

  /** Mark the fields whose text is no value, and return whether there are any. */
  showMalformed() {
    for (const control of this.#fields.querySelectorAll("[data-path] > :is(input, textarea)")) {
      if (control.validity.badInput) refuse(control.parentElement, "This is not a number.");
      else if (control.validity.customError) refuse(control.parentElement, control.validationMessage);
    }
    const refused = this.#refused();
    if (refused.length > 0) this.#summarize(refused.length);
    focus(refused[0]);
    return refused.length > 0;
  }

  clear() {
    this.#element.replaceChildren();
    for (const element of this.#refused()) refuse(element, "");
  }

  #field(path) {
    return [...this.#fields.querySelectorAll("[data-path]")].find((element) => element.dataset.path === path);
  }

  #refused() {
    return [...this.#fields.querySelectorAll("[data-path]:has(> .problem:not(:empty))")];
  }

  #summarize(count) {
    const what = count === 1 ? "one field" : `${count} fields`;
    this.#element.append(make("p", { textContent: `Not sent yet: please correct ${what}.` }));
  }
}

function focus(element) {
  element?.querySelector("input, textarea, select, button")?.focus();
}

/** Make the line for a violation that no field shows; a path such as `$.author.name` is shown as `author.name`. */
function item(path, text) {
  const place = path.replace(/^\$\.?/, "");
  return make("li", {}, ...(place === "" ? [] : [make("code", { textContent: place }), " "]), text);
}
