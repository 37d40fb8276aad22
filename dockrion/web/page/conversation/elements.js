// The elements of Markdown's tokens. What is neither known nor safe is shown as it was written.

import { copyButton, make } from "../dom.js";

const SAFE = new Set(["http:", "https:", "mailto:"]);
const MAX_DEPTH = 40; // of elements in each other
const MAX_LABEL = 40; // characters
const HEADING_ABOVE = 3; // the level of the headings that an answer stands beneath
const ENTITY = /&(?:#(\d{1,7})|#[xX]([\da-fA-F]{1,6})|(amp|lt|gt|quot|apos|nbsp));/g;
const NAMED = { amp: "&", lt: "<", gt: ">", quot: "\"", apos: "'", nbsp: "\u00a0" };

/** A block of an answer. */
export class Block {
  #source;
  #code = null;

  constructor(token) {
    this.#source = token.raw;
    if (token.type === "code") this.#code = new Code(token);
    this.element = this.#code?.element ?? element(token, 0);
  }

  /** Show another token in the same element, and return whether that is possible. */
  update({ type, raw, lang, text }) {
    if (this.#code !== null) return type === "code" && this.#code.update(lang, text);
    return raw === this.#source;
  }
}

/** A block of code, with its language and a button that copies it. */
class Code {
  #lang;
  #shown = make("code");

  constructor({ lang, text }) {
    this.#lang = lang;
    this.#shown.textContent = text;
    const label = (lang ?? "").trim().split(/\s/, 1)[0].slice(0, MAX_LABEL);
    const pre = make("pre", { tabIndex: 0, role: "group", ariaLabel: label === "" ? "Code" : `Code, ${label}` }, this.#shown);
    const copy = copyButton(() => this.#shown.textContent, this.#shown, "Copy code");
    this.element = make("div", { className: "listing" }, make("div", { className: "head" }, make("span", { className: "note", textContent: label }), copy), pre);
  }

  update(lang, text) {
    const before = this.#shown.textContent;
    if (lang !== this.#lang || !text.startsWith(before)) return false;
    if (text !== before) this.#shown.append(text.slice(before.length));
    return true;
  }
}

const ELEMENTS = {
  heading: (token, depth) => make(`h${Math.min(6, token.depth + HEADING_ABOVE)}`, { className: `level-${token.depth}` }, ...nodes(token.tokens, depth)),
  paragraph: (token, depth) => make("p", {}, ...nodes(token.tokens, depth)),
  blockquote: (token, depth) => make("blockquote", {}, ...nodes(token.tokens, depth)),
  hr: () => make("hr"),
  br: () => document.createTextNode("\n"),
  space: () => document.createTextNode(""),
  code: (token) => new Code(token).element,
  strong: (token, depth) => make("strong", {}, ...nodes(token.tokens, depth)),
  em: (token, depth) => make("em", {}, ...nodes(token.tokens, depth)),
  del: (token, depth) => make("del", {}, ...nodes(token.tokens, depth)),
  codespan: (token) => make("code", { textContent: token.text }),
  checkbox: ({ checked }) => make("input", { type: "checkbox", checked, disabled: true, ariaLabel: checked ? "Done" : "To do" }),
  escape: (token) => document.createTextNode(token.text),
  text: (token, depth) => (token.tokens ? fragment(nodes(token.tokens, depth)) : document.createTextNode(decoded(token.text))),

  list(token, depth) {
    const items = token.items.map((item) => make("li", item.task ? { className: "task" } : {}, ...nodes(item.tokens, depth + 1)));
    const list = token.ordered ? make("ol", { start: token.start }, ...items) : make("ul", {}, ...items);
    if (token.loose) list.className = "loose";
    return list;
  },

  table(token, depth) {
    const row = (tag) => (cells) => make("tr", {}, ...cells.map((cell) => alignedCell(tag, cell, depth + 3)));
    const table = make("table", {}, make("thead", {}, row("th")(token.header)), make("tbody", {}, ...token.rows.map(row("td"))));
    return make("div", { className: "wide", tabIndex: 0, role: "group", ariaLabel: "Table" }, table);
  },

  link(token, depth) {
    return isSafe(token.href) ? anchor(token.href, nodes(token.tokens, depth)) : document.createTextNode(token.raw);
  },

  image(token) { // no other host is asked for it
    return isSafe(token.href) ? anchor(token.href, [token.text || token.href]) : document.createTextNode(token.raw);
  },
};

function nodes(tokens, depth) {
  return tokens.map((token) => element(token, depth + 1));
}

function element(token, depth) {
  const draw = depth < MAX_DEPTH && Object.hasOwn(ELEMENTS, token.type) ? ELEMENTS[token.type] : plain;
  return draw(token, depth);
}

function plain({ raw }, depth) {
  return depth === 0 ? make("p", { textContent: raw.trimEnd() }) : document.createTextNode(raw);
}

function fragment(children) {
  const made = document.createDocumentFragment();
  made.append(...children);
  return made;
}

function alignedCell(tag, { tokens, align }, depth) {
  const cell = make(tag, {}, ...nodes(tokens, depth));
  if (tag === "th") cell.scope = "col";
  if (align) cell.style.textAlign = align;
  return cell;
}

function anchor(href, children) {
  return make("a", { href, title: href, target: "_blank", rel: "noopener noreferrer" }, ...children);
}

function isSafe(href) {
  return URL.canParse(href) && SAFE.has(new URL(href).protocol);
}

/** Decode the entities that are common, and leave the others as they are. */
function decoded(text) {
  return text.replace(ENTITY, (whole, decimal, hexadecimal, name) => {
    if (name !== undefined) return NAMED[name];
    const code = decimal === undefined ? Number.parseInt(hexadecimal, 16) : Number(decimal);
    return code === 0 || code > 0x10ffff || (code >= 0xd800 && code < 0xe000) ? "\ufffd" : String.fromCodePoint(code);
  });
}
