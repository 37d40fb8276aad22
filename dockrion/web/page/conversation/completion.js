// Completes Markdown that is half written, so that it looks from the beginning as it will in the end.

const FENCES = /^[ \t>]*(?:[-+*] +|\d{1,9}[.)] +)?(?:`{3}|~{3})/gm;
const HELD_LINE = /(?<=^|\n)(?:[-=*_#`~+|:>[\]!. \t]{1,100}|\|[^\n]{0,500})$/; // it may become anything
const HELD_FENCE = /\n[ \t>]*[`~]{1,100}$/;
const UNFINISHED_LINK = /!?\[([^[\]]*)(?:\]\([^()\s]*)?$/;
const UNFINISHED_MARKER = /[*_~`]{1,3}$/;
const MAX_OPEN = 20; // markers that are closed
const MARKER = /\\.|\*\*|\*|~~|__|_/g;

/** Return the source with its unfinished end completed, or left out. */
export function completed(source) {
  if ((source.match(FENCES)?.length ?? 0) % 2 === 1) return source.replace(HELD_FENCE, "\n");
  const text = source.replace(HELD_LINE, "");
  const start = text.lastIndexOf("\n") + 1;
  if (start === text.length) return text + delimiterRow(text);
  return text.slice(0, start) + completedLine(text.slice(start));
}

function completedLine(line) {
  const text = line.replace(UNFINISHED_MARKER, "");
  const spans = text.split("`");
  if (spans.length % 2 === 0) return `${text}\``; // code is open
  const outside = spans.filter((_, index) => index % 2 === 0).join("`");
  return text.replace(UNFINISHED_LINK, "$1") + closers(outside);
}

/** Return what closes the emphasis that is open at the end of a line. */
function closers(line) {
  const open = [];
  for (const { 0: marker, index } of line.matchAll(MARKER)) {
    const [before, after] = [line[index - 1] ?? " ", line[index + marker.length] ?? " "];
    if (open.at(-1) === marker && before !== " ") open.pop();
    else if (after !== " " && !marker.startsWith("\\") && !(marker.startsWith("_") && /\w/.test(before))) open.push(marker);
  }
  return open.length > MAX_OPEN ? "" : open.reverse().join("");
}

/** Return the second line of a table that has only the first. */
function delimiterRow(text) {
  const [row, ...rest] = text.slice(text.lastIndexOf("\n\n") + 1).trimStart().split("\n", 3);
  if (!row.startsWith("|") || rest.length > 1) return "";
  return `|${" - |".repeat(row.trimEnd().replace(/^\||\|$/g, "").split("|").length)}`;
}
