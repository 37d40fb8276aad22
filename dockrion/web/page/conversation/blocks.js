// The parts of a transcript. Each has an `element`.

import { displayText, duration, make } from "../dom.js";
import { Markdown } from "./markdown.js";

const MAX_LINE = 200; // characters

/** What the agent answers, in Markdown. */
export class Answer {
  kind = "text";
  #markdown = new Markdown();

  constructor(messageId, speaker) {
    this.messageId = messageId;
    this.element = make("div", { className: "block" }, ...named(speaker), this.#markdown.element);
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

/** Reasoning, or what others say: it arrives piece by piece and is written once for many pieces. */
export class Text {
  #pieces = [];
  #said = make("div", { className: "said" });
  #line = make("span", { className: "line" });

  constructor(kind, messageId, speaker) {
    this.kind = kind;
    this.messageId = messageId;
    this.element = kind === "reasoning" ? this.#folded(speaker) : make("div", { className: "block" }, ...named(speaker), this.#said);
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
    if (this.#pieces.length === 0) return;
    const text = this.#pieces.join("");
    this.#pieces = [];
    this.#said.append(text);
    const { length } = this.#line.textContent;
    if (length < MAX_LINE) this.#line.append(text.slice(0, MAX_LINE - length));
  }

  end() {
    this.write();
  }

  #folded(speaker) {
    const summary = make("summary", {}, ...named(speaker), make("span", { className: "type", textContent: "reasoning" }), this.#line);
    return make("details", { className: "block reasoning" }, summary, this.#said);
  }
}

/** A tool call, its arguments and its result. */
export class Call {
  #state = make("span", { className: "note", textContent: "running" });
  #parts;

  constructor(name, args, speaker) {
    this.#parts = args === undefined ? [] : [["Arguments", args]];
    const line = make("span", { className: "line", textContent: args === undefined ? "" : JSON.stringify(args).slice(0, MAX_LINE) });
    const summary = make("summary", {}, ...named(speaker), make("span", { className: "type", textContent: name }), line, this.#state);
    this.element = make("details", { className: "block tool" }, summary);
    this.element.addEventListener("toggle", () => this.#draw());
  }

  /** Show the result. */
  end(result, isError, milliseconds) {
    const time = milliseconds === null ? [] : [duration(milliseconds)];
    this.#end([...(isError ? ["failed"] : time.length === 0 ? ["done"] : []), ...time].join(", "), isError ? "problem" : "note");
    this.#parts.push([isError ? "Error" : "Result", result]);
    this.#draw();
  }

  /** Show that there is no result. */
  abandon() {
    this.#end("no result", "note");
  }

  #end(text, className) {
    this.#state.textContent = text;
    this.#state.className = className;
  }

  #draw() {
    if (!this.element.open) return;
    const parts = this.#parts.map(([title, value]) => [make("h4", { textContent: title }), make("pre", { textContent: displayText(value) })]);
    this.element.replaceChildren(this.element.firstElementChild, ...parts.flat());
  }
}

/** A question of the agent, and the answer. */
export class Question {
  #answer = make("p", { className: "note", textContent: "Not answered yet" });

  constructor(prompt) {
    this.element = make("div", { className: "block asked" }, make("p", { className: "said", textContent: displayText(prompt) }), this.#answer);
  }

  end(text) {
    this.#answer.textContent = text;
  }
}

function named(speaker) {
  return speaker === "" ? [] : [make("span", { className: "speaker", textContent: speaker })];
}
