// An answer in Markdown, drawn while it arrives: only its last block is parsed and drawn again.

import { copyButton, make } from "../dom.js";
import { Lexer, Tokenizer } from "../vendor/marked.js";
import { completed } from "./completion.js";
import { Block } from "./elements.js";

const MAX_BLOCK = 10_000; // characters parsed at once: what is quadratic in the parser stays below 100 ms
const MAX_CODE = 200_000; // code is parsed in linear time
const MAX_PREFIX = 1_000;
const MAX_ELEMENTS = 20_000; // what follows is plain text
const CODE = /^ {0,3}(?:`{3}|~{3})/;
const BLANK_LINE = /(?<=.\n)(?=\n)/;
const TWO_LINES = /\n.*\n/;
const DEEPLY_NESTED = /^[ \t]*(?:(?:>|(?:[-+*]|\d{1,9}[.)])[ \t])[ \t]*){20}/m; // the parser is recursive

/** Text in Markdown, that arrives piece by piece and is drawn once for many pieces. */
export class Markdown {
  text = "";
  #tail = ""; // the source of what may still change
  #open = []; // its blocks
  #rendered = make("div", { className: "markdown" });
  #raw = make("pre", { className: "raw", hidden: true });
  #plain = null; // what follows too many elements

  constructor() {
    const toggle = make("button", { type: "button", className: "quiet", ariaLabel: "Raw", ariaPressed: "false" });
    toggle.addEventListener("click", () => this.#showRaw(toggle));
    const shown = make("div", {}, this.#rendered, this.#raw);
    const tools = make("div", { className: "tools" }, toggle, copyButton(() => this.text, shown));
    this.element = make("div", { className: "answer" }, tools, shown);
  }

  append(piece) {
    this.text += piece;
    this.#tail += piece.replaceAll("\r", "");
    if (!this.#raw.hidden) this.#raw.append(piece);
  }

  clear() {
    this.text = "";
    this.#tail = "";
    this.#open = [];
    this.#plain = null;
    this.#rendered.replaceChildren();
    this.#raw.replaceChildren();
  }

  /** Draw what was appended, as if half-written markup were complete. */
  write() {
    this.#draw(completed);
  }

  /** Draw what was appended, as it is. */
  end() {
    this.#draw((source) => source);
  }

  #draw(finish) {
    while (this.#plain === null && this.#drawFinished());
    if (this.#plain !== null) {
      this.#plain.append(this.#tail);
      this.#tail = "";
      return;
    }
    this.#show(parse(finish(this.#tail)));
  }

  /** Draw blocks that nothing can change any more, and return whether there were any. */
  #drawFinished() {
    const source = this.#tail;
    const end = cut(source);
    const tokens = parse(source.slice(0, end));
    const count = finishedCount(tokens);
    if (count === 0 && end === source.length) return false;
    const finished = count === 0 ? tokens : tokens.slice(0, count);
    const length = count === 0 ? end : finished.reduce((sum, { raw }) => sum + raw.length, 0);
    this.#show(finished);
    this.#open = [];
    const rest = source.slice(length);
    this.#tail = count === 0 ? repeatedLines(finished.at(-1), rest) + rest : rest;
    if (this.#rendered.getElementsByTagName("*").length > MAX_ELEMENTS) this.#drawPlain();
    return true;
  }

  /** Draw tokens in place of the blocks that may still change. */
  #show(tokens) {
    const blocks = tokens.filter(({ type }) => type !== "space");
    for (const { element } of this.#open.splice(blocks.length)) element.remove();
    this.#open = blocks.map((token, index) => {
      const drawn = this.#open[index];
      if (drawn?.update(token)) return drawn;
      const block = new Block(token);
      if (drawn === undefined) this.#rendered.append(block.element);
      else drawn.element.replaceWith(block.element);
      return block;
    });
  }

  #drawPlain() {
    this.#plain = make("p");
    this.#rendered.append(this.#plain);
  }

  #showRaw(toggle) {
    const isRaw = this.#raw.hidden;
    toggle.ariaPressed = String(isRaw);
    this.#rendered.hidden = isRaw;
    this.#raw.hidden = !isRaw;
    this.#raw.textContent = isRaw ? this.text : "";
  }
}

class TextTokenizer extends Tokenizer {
  html() {} // HTML is text

  tag() {}

  def() {} // it would change blocks above it
}

const OPTIONS = { gfm: true, tokenizer: new TextTokenizer() };

/** Return the blocks of a text. What the parser fails at is text up to the next blank line. */
function parse(source) {
  if (!DEEPLY_NESTED.test(source)) {
    try {
      return new Lexer(OPTIONS).lex(source);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error; // it is nested too deeply
    }
  }
  const end = source.search(BLANK_LINE);
  const parts = end === -1 ? [source] : [source.slice(0, end), source.slice(end)];
  return parts.map((raw) => ({ type: "plain", raw }));
}

/** Return how many tokens are final: a block ends where another one begins with two whole lines, as a table has. */
function finishedCount(tokens) {
  let rest = "";
  for (let index = tokens.length - 1; index > 0; index -= 1) {
    const { type, raw } = tokens[index];
    rest = raw + rest;
    if (type !== "space" && TWO_LINES.test(rest)) return index;
  }
  return 0;
}

/** Return where to end a part of the source that is not too long to be parsed at once. */
function cut(source) {
  const limit = CODE.test(source) ? MAX_CODE : MAX_BLOCK;
  if (source.length <= limit) return source.length;
  for (const separator of ["\n", " "]) {
    const end = source.lastIndexOf(separator, limit - 1) + 1;
    if (end > limit / 2) return end;
  }
  const isPair = (source.charCodeAt(limit - 1) & 0xfc00) === 0xd800; // the first half of a surrogate pair
  return isPair ? limit - 1 : limit;
}

/** Return the lines of a block that was cut with which its rest begins. */
function repeatedLines({ type, raw }, rest) {
  const isTable = type === "table" && !rest.startsWith("\n");
  const count = isTable ? 2 : type === "code" && CODE.test(raw) ? 1 : 0;
  const lines = raw.split("\n", count).map((line) => `${line}\n`).join("");
  return lines.length > MAX_PREFIX ? "" : lines;
}
