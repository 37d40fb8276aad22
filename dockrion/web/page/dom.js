// Elements. Whatever comes from the service only ever becomes text.

const MOST_SHOWN = 100_000; // characters

export function byId(id) {
  return document.getElementById(id);
}

/** Make an element with properties and children; children that are strings are text. */
export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** Return a value as a person reads it: text as it is, anything else as JSON. */
export function shown(value) {
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  return text.length <= MOST_SHOWN ? text : `${text.slice(0, MOST_SHOWN)}\n… ${text.length - MOST_SHOWN} more characters`;
}

export function seconds(milliseconds) {
  if (milliseconds < 1000) return `${milliseconds.toFixed(0)} ms`;
  return `${(milliseconds / 1000).toFixed(milliseconds < 10_000 ? 2 : 1)} s`;
}

/** Make something to unfold, whose inside is made when somebody looks at it. */
export function unfolding(summary, text) {
  const details = make("details", {}, make("summary", {}, ...summary));
  details.addEventListener("toggle", () => details.append(make("pre", { textContent: text() })), { once: true });
  return details;
}

/** A list that keeps the last of what is added, and says so. */
export class Recent {
  #list;
  #note;
  #most;
  #count = 0;

  constructor(list, note, most) {
    this.#list = list;
    this.#note = note;
    this.#most = most;
  }

  get items() {
    return this.#list.children;
  }

  clear() {
    this.#count = 0;
    this.#list.replaceChildren();
    this.#note.hidden = true;
  }

  /** Add what `make` makes of each value, but of none that would be dropped at once. */
  add(values, make) {
    this.#count += values.length;
    this.#list.append(...values.slice(-this.#most).map(make));
    while (this.#list.childElementCount > this.#most) this.#list.firstElementChild.remove();
    this.#note.hidden = this.#count <= this.#most;
    this.#note.textContent = `The last ${this.#most} of ${this.#count}.`;
  }
}

/** Change a scrolling element, staying at its end if that is what was seen. */
export function atItsEnd(element, change) {
  const wasAtEnd = element.scrollHeight - element.scrollTop - element.clientHeight < 40;
  change();
  if (wasAtEnd) element.scrollTop = element.scrollHeight;
}
