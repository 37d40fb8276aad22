// The text of a frame: the beginning for its row, and the whole as indented lines, in pieces however long it is.

const MAX_HEAD = 2000; // characters in which the fields that every event has end
const MAX_LINE = 300;
const PIECE = 8192;
const MAX_INDENT = 40; // levels
const COMMON = /^\{"id":"[^"]*","type":"[^"]*","run_id":"[^"]*","sequence":\d+,"timestamp":"[^"]*",?/;
const NAME = /^"name":"((?:[^"\\]|\\.){0,300})(?:",)?/;
const TOKEN = /[{}[\],:"]|[^\s{}[\],:"]+/g;
// Control characters, and those that change the direction of text around them. JSON may escape each of them.
const INVISIBLE = /[\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;

/** Return the JSON of a frame. */
export function json(raw) {
  return raw.slice(dataStart(raw));
}

/** Return the name of a checkpoint and the beginning of what a frame says besides, without the common fields. */
export function excerpt({ event, raw }) {
  const start = dataStart(raw);
  const head = raw.slice(start, start + MAX_HEAD);
  const own = head.slice(COMMON.exec(head)?.[0].length ?? 1);
  const [named, name] = (event === "checkpoint" && NAME.exec(own)) || ["", ""];
  return { name: printable(name), line: printable(`{${own.slice(named.length)}`.slice(0, MAX_LINE)) };
}

/** Yield the lines of a frame, its JSON indented. It is not parsed: numbers stay as they were sent. */
export function* pieces(raw) {
  const start = dataStart(raw);
  let piece = raw.slice(0, start);
  for (const text of indented(raw.slice(start))) {
    piece += printable(text);
    if (piece.length < PIECE) continue;
    const end = piece.lastIndexOf("\n") + 1 || piece.length;
    yield piece.slice(0, end);
    piece = piece.slice(end);
  }
  yield piece;
}

function dataStart(raw) {
  return raw.startsWith("data: ") ? 6 : raw.indexOf("\ndata: ") + 7;
}

function printable(text) {
  return text.replace(INVISIBLE, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** Yield compact JSON token by token, with line breaks between; long strings come in parts. */
function* indented(text) {
  let depth = 0;
  const lineBreak = () => `\n${"  ".repeat(Math.min(depth, MAX_INDENT))}`;
  const tokens = new RegExp(TOKEN);
  for (let match = tokens.exec(text); match !== null; match = tokens.exec(text)) {
    const [token] = match;
    if (token === '"') {
      const end = stringEnd(text, tokens.lastIndex);
      yield* parts(text, match.index, end);
      tokens.lastIndex = end;
    } else if (token === "{" || token === "[") {
      depth += 1;
      yield "}]".includes(text[tokens.lastIndex]) ? token : token + lineBreak();
    } else if (token === "}" || token === "]") {
      depth -= 1;
      yield "{[".includes(text[match.index - 1]) ? token : lineBreak() + token;
    } else {
      yield token === "," ? token + lineBreak() : token === ":" ? ": " : token;
    }
  }
}

function stringEnd(text, start) {
  for (let at = text.indexOf('"', start); at !== -1; at = text.indexOf('"', at + 1)) {
    let backslashes = 0;
    while (text[at - 1 - backslashes] === "\\") backslashes += 1;
    if (backslashes % 2 === 0) return at + 1;
  }
  return text.length;
}

function* parts(text, start, end) {
  for (let from = start, to; from < end; from = to) {
    to = Math.min(from + PIECE, end);
    if (to < end && isHighSurrogate(text.charCodeAt(to - 1))) to += 1;
    yield text.slice(from, to);
  }
}

function isHighSurrogate(code) {
  return code >= 0xd800 && code < 0xdc00;
}
