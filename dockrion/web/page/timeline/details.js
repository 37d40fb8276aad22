// The details of what is selected in a timeline.

import { duration, make } from "../dom.js";
import { nameOf } from "./chart.js";
import { KINDS } from "./trace.js";

const MAX_LISTED = 100;
const MAX_TEXT = 100_000; // characters that are shown at once

/** The parts of an item's details, as titles and values. */
const PARTS = {
  run: ([last]) => OUTCOME[last?.type]?.(last) ?? [],
  question: ([asked, answered]) => [["Question", asked.prompt], ...(answered === undefined ? [] : [["Answer", answered.value ?? "not shown"]])],
  step: ([step]) => [["Input", (step.input_keys ?? []).join(", ")], ["Output", (step.output_keys ?? []).join(", ")]],
  tool: (events) => events.map((event) => (event.type === "tool_call" ? ["Arguments", event.arguments] : [event.is_error ? "Error" : "Result", event.result])),
  message: ([message]) => [["Content", message.content]],
  progress: ([{ progress, message }]) => [["Progress", [`${Math.floor(progress * 100)} %`, message].filter(Boolean).join(", ")]],
  checkpoint: ([{ data }]) => [["Data", data]],
  custom: ([{ id, type, run_id, sequence, timestamp, ...own }]) => [["Data", own]],
};
const OUTCOME = {
  complete: ({ output }) => [["Output", output]],
  error: ({ error, code, details }) => [["Error", `${code}: ${error}`], ["Details", details]],
  cancelled: ({ reason }) => [["Reason", reason]],
};

export class Details {
  #showFrame;
  #zoomTo;
  #select;
  #shape = null;
  #origin = 0;
  #shown = new Map(); // by title, the element and how much of the value is shown
  #title = make("h4", { role: "status" });
  #facts = make("p", { className: "note" });
  #actions = make("div", { className: "actions" });
  #content = make("div", { className: "content" });

  /** `showFrame(sequence)` may be null; `zoomTo(from, to)` and `select(item)` change the timeline. */
  constructor({ showFrame, zoomTo, select }) {
    this.#showFrame = showFrame;
    this.#zoomTo = zoomTo;
    this.#select = select;
    this.element = make("div", { className: "details", hidden: true }, this.#title, this.#facts, this.#actions, this.#content);
  }

  clear() {
    this.#shape = null;
    this.element.hidden = true;
  }

  /** Show one item, or the list of several; `origin` is when the run began. */
  show(shape, origin) {
    this.#shape = shape;
    this.#origin = origin;
    this.#shown.clear();
    this.element.hidden = false;
    this.#content.replaceChildren();
    this.#title.textContent = shape.items.length > 1 ? nameOf(shape) : `${KINDS[shape.items[0].kind].title}: ${shape.items[0].name}`;
    this.#actions.replaceChildren(...this.#buttons(shape));
    if (shape.items.length > 1) this.#content.append(this.#list(shape.items));
    else this.update(shape.to);
  }

  /** Show what has become of the item that is shown; `now` is the end of what is open. */
  update(now) {
    if (this.#shape === null) return;
    const { items, from, to } = this.#shape;
    const [item] = items;
    if (items.length > 1) {
      this.#facts.textContent = `from ${duration(from - this.#origin)} to ${duration(to - this.#origin)}`;
      return;
    }
    this.#facts.textContent = facts(item, this.#origin, now).filter(Boolean).join(" · ");
    for (const [title, value] of parts(item)) this.#showPart(title, value);
  }

  #buttons({ items, from, to }) {
    const button = (textContent, act) => {
      const made = make("button", { type: "button", textContent });
      made.addEventListener("click", act);
      return made;
    };
    const [{ first }] = items;
    return [
      ...(to > from || items.length > 1 ? [button("Zoom to it", () => this.#zoomTo(from, this.#shape?.to ?? to))] : []),
      ...(this.#showFrame !== null && first !== null ? [button(`Show frame ${first}`, () => this.#showFrame(first))] : []),
    ];
  }

  #list(items) {
    const rows = items.slice(0, MAX_LISTED).map((item) => {
      const button = make("button", { type: "button", className: "quiet" }, item.name,
        make("span", { className: "note", textContent: [KINDS[item.kind].title, `at ${duration(item.from - this.#origin)}`].join(", ") }));
      button.addEventListener("click", () => this.#select(item));
      return make("li", {}, button);
    });
    if (items.length > MAX_LISTED) rows.push(make("li", { className: "note", textContent: `The first ${MAX_LISTED} of ${items.length.toLocaleString()}: zoom in to see the others.` }));
    return make("ul", { className: "plain scroll", tabIndex: 0, ariaLabel: nameOf({ items }) }, ...rows);
  }

  #showPart(title, value) {
    const before = this.#shown.get(title);
    if (before !== undefined && before.value === value) return;
    const part = before ?? this.#newPart(title);
    part.value = value;
    const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
    const limit = part.isWhole ? Infinity : MAX_TEXT;
    const shown = part.pre.firstChild;
    if (before !== undefined && text.startsWith(shown.data)) shown.appendData(text.slice(shown.length, limit)); // so that a selection stays
    else part.pre.textContent = text.slice(0, limit);
    part.more.hidden = text.length <= limit;
    part.more.textContent = `Show all ${text.length.toLocaleString()} characters`;
  }

  #newPart(title) {
    const part = { pre: make("pre", { className: "scroll", tabIndex: 0, role: "region", ariaLabel: title }, ""), more: make("button", { type: "button", hidden: true }), isWhole: false };
    part.pre.append(document.createTextNode(""));
    part.more.addEventListener("click", () => {
      const { value } = part;
      Object.assign(part, { isWhole: true, value: undefined });
      this.#showPart(title, value);
    });
    this.#content.append(make("h5", { textContent: title }), part.pre, part.more);
    this.#shown.set(title, part);
    return part;
  }
}

function facts(item, origin, now) {
  const { kind, row, from, to, failed, chunks, first, last, events } = item;
  const end = to ?? now;
  const given = events?.find((event) => typeof event.duration_ms === "number")?.duration_ms;
  const took = given ?? end - from;
  return [
    row.path,
    `at ${duration(from - origin)}`,
    took > 0 ? (to === null ? `for ${duration(took)} so far` : `took ${duration(took)}`) : "",
    failed ? "failed" : "",
    kind === "tool" && to !== null && events?.length === 1 && events[0].type === "tool_call" ? "no result" : "",
    chunks > 0 ? `${chunks.toLocaleString()} ${chunks === 1 ? "chunk" : "chunks"}` : "",
    first === null ? "" : first === last ? `frame ${first}` : `frames ${first} to ${last}`,
  ];
}

function parts(item) {
  if (item.events === null) return [["Not kept", "This run is too large to keep all of its details here. Its frames have them."]];
  if (item.text !== null) return [["Text", item.text]];
  const shown = PARTS[item.kind]?.(item.events) ?? [];
  return shown.filter(([, value]) => value !== undefined && value !== null && value !== "");
}
