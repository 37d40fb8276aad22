// The parts of a transcript. Each has an `element`.

import { displayText, duration, make } from "../dom.js";
import { Markdown } from "./markdown.js";

const MAX_LINE = 200; // characters
const MAX_VALUE = 20_000; // characters of an event whose parsed data is kept

/** What the agent answers, in Markdown. */
export class Answer {
  kind = "text";
  #markdown = new Markdown();

  constructor(messageId, speaker, source = speaker) {
    this.messageId = messageId;
    this.element = make("div", { className: "block" }, ...named(speaker, source), this.#markdown.element);
  }

  get text() {
    return this.#markdown.text;
  }

  add(piece) {
    this.#markdown.append(piece);
  }

  replaceWith(text) {
    if (text === this.text) return;
    this.#markdown.clear();
    this.#markdown.append(text);
  }

  write() {
    this.#markdown.write();
  }

  end() {
    this.#markdown.end();
  }
}

/** A line where a run begins again. */
export class Again {
  constructor(attempt, previous) {
    const reason = { worker_lost: "The process that ran it is gone.", shutdown: "The process that ran it was shut down." }[previous] ?? "";
    this.element = make("p", { className: "block note", textContent: `${reason} Attempt ${attempt}:`.trim() });
  }
}

/** What others than the agent say. */
export class Text {
  #pieces = [];
  #said = make("div", { className: "said" });

  constructor(messageId, speaker) {
    this.messageId = messageId;
    this.element = make("div", { className: "block" }, ...named(speaker, null), this.#said);
  }

  get text() {
    return this.#said.textContent + this.#pieces.join("");
  }

  add(piece) {
    this.#pieces.push(piece);
  }

  replaceWith(text) {
    if (text === this.text) return;
    this.#said.replaceChildren();
    this.#pieces = [text];
  }

  write() {
    if (this.#pieces.length > 0) this.#said.append(this.#pieces.join(""));
    this.#pieces = [];
  }

  end() {
    this.write();
  }
}

/** What a model thinks, folded. */
export class Reasoning {
  kind = "reasoning";
  #pieces = [];
  #line = make("span", { className: "line" });
  #state = make("span", { className: "note", textContent: "thinking" });
  #said = make("div", { className: "said" });
  #from = null;
  #to = null;

  constructor(messageId, speaker) {
    this.messageId = messageId;
    const summary = make("summary", {}, ...named(speaker), make("span", { className: "type", textContent: "Reasoning" }), this.#line, this.#state);
    this.element = make("details", { className: "block folded reasoning" }, summary, this.#said);
  }

  add(piece) {
    this.#pieces.push(piece);
  }

  /** A piece was thought at this time, in milliseconds. */
  lasts(time) {
    this.#from ??= time;
    this.#to = time;
  }

  write() {
    if (this.#pieces.length === 0) return;
    const text = this.#pieces.join("");
    this.#pieces = [];
    this.#said.append(text);
    const { length } = this.#line.textContent;
    if (length < MAX_LINE) this.#line.append(text.slice(0, MAX_LINE - length));
  }

  end() {
    this.write();
    this.#state.textContent = this.#to > this.#from ? duration(this.#to - this.#from) : "";
  }
}

/** A tool call, its arguments and its result. */
export class Call {
  #state = make("span", { className: "note", textContent: "running" });
  #parts;

  /** `size` is that of the event, in characters. */
  constructor(name, args, speaker, size) {
    this.#parts = args === undefined ? [] : [["Arguments", displayed(args, size)]];
    const line = make("span", { className: "line", textContent: args === undefined ? "" : JSON.stringify(args).slice(0, MAX_LINE) });
    const summary = make("summary", {}, ...named(speaker), make("span", { className: "type", textContent: name.slice(0, MAX_LINE) }), line, this.#state);
    this.element = make("details", { className: "block folded tool working" }, summary);
    this.element.addEventListener("toggle", () => this.#draw());
  }

  /** Show the result. */
  end(result, isError, milliseconds, size) {
    const time = milliseconds === null ? [] : [duration(milliseconds)];
    this.#end([...(isError ? ["failed"] : time.length === 0 ? ["done"] : []), ...time].join(", "), isError ? "problem" : "note");
    this.element.classList.toggle("broken", isError);
    this.#parts.push([isError ? "Error" : "Result", displayed(result, size)]);
    this.#draw();
  }

  /** Show that there is no result. */
  abandon() {
    this.#end("no result", "note");
  }

  #end(text, className) {
    this.#state.textContent = text;
    this.#state.className = className;
    this.element.classList.remove("working");
  }

  #draw() {
    if (!this.element.open) return;
    const parts = this.#parts.map(([title, text]) => [make("h4", { textContent: title }), make("pre", { textContent: text() })]);
    this.element.replaceChildren(this.element.firstElementChild, ...parts.flat());
  }
}

/** A question of the agent: a form, or the answer. */
export class Question {
  #answer = make("p", { className: "note", textContent: "Not answered yet" });
  #form = null;

  constructor(prompt, id) {
    this.headingId = id;
    const heading = make("h4", { id, className: "said", textContent: displayText(prompt) });
    this.element = make("div", { className: "block asked" }, heading, this.#answer);
  }

  /** Show a form in place of the answer. */
  show(form) {
    this.#answer.replaceWith(form);
    this.#form = form;
  }

  /** Show what was answered, or why nothing was. */
  end(text) {
    this.#answer.textContent = text;
    this.#form?.replaceWith(this.#answer);
    this.#form = null;
  }
}

/** Return a function for the text of a value; of a large one only the text that is shown is kept. */
function displayed(value, size) {
  if (size <= MAX_VALUE) return () => displayText(value);
  const text = displayText(value);
  return () => text;
}

/** Return who speaks, if that is known. The name of the only source is not shown. */
function named(speaker, source = speaker) {
  return speaker === "" ? [] : [make("span", { className: speaker === source ? "speaker source" : "speaker", textContent: speaker.slice(0, MAX_LINE) })];
}
