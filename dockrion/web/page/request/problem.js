// What is wrong with the values of a form.

import { make } from "../dom.js";

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
    const violations = Array.isArray(details) ? details : [];
    this.#set([
      make("p", { textContent: message }),
      make("ul", {}, ...violations.map(({ path, message }) => make("li", {}, make("code", { textContent: path }), ` ${message}`))),
    ]);
    const invalid = new Set(violations.map(({ path }) => path));
    const controls = [...this.#fields.querySelectorAll("[data-path]")].filter((control) => invalid.has(control.dataset.path));
    for (const control of controls) control.setAttribute("aria-invalid", "true");
    controls[0]?.focus();
  }

  clear() {
    this.#set([]);
  }

  #set(parts) {
    this.#element.replaceChildren(...parts);
    for (const control of this.#fields.querySelectorAll("[aria-invalid]")) control.removeAttribute("aria-invalid");
  }
}
