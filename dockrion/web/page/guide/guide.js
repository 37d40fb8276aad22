// The guide of Dockrion, which is part of every service, in a dialog of the page.

import { request } from "../api.js";
import { Markdown } from "../conversation/markdown.js";
import { byId } from "../dom.js";

const CONTENTS = "README";
const LINK = /#guide=([\w.-]+?)(?:\.md)?(?:#([\w-]+))?$/;
const BEGINS_BLOCK = /^(?:[#|>`]|\s*(?:[-*+]|\d+\.)\s|\s*```|<)/;
const ENDS_BLOCK = /^$|^[#|]|^\s*```|^<.*>$/; // nothing is joined to such a line
const dialog = byId("guide");
const text = byId("guide-text");

/** Open the chapter that a link names, at its section. */
export async function open(link) {
  const [, chapter, section] = LINK.exec(link);
  const source = await request("GET", `assets/guide/${chapter}.md`)
    .then((response) => response.text(), (error) => `This chapter cannot be shown: ${error.message}`);
  const markdown = new Markdown();
  markdown.append(withLinks(unwrapped(source), chapter));
  markdown.end();
  text.replaceChildren(...markdown.element.querySelectorAll(".markdown"));
  byId("guide-contents").hidden = chapter === CONTENTS;
  if (!dialog.open) dialog.showModal();
  const heading = section && [...text.querySelectorAll("h1, h2, h3, h4, h5, h6")].find(({ textContent }) => slug(textContent) === section);
  if (heading) heading.scrollIntoView();
  else text.scrollTop = 0;
  text.focus();
}

/** Make links to other chapters absolute, as others are not drawn, and links to other files their text. */
function withLinks(source, chapter) {
  const page = location.href.split("#")[0];
  return source
    .replaceAll("](#", `](${chapter}.md#`)
    .replaceAll(/\]\(([\w.-]+\.md(?:#[\w-]+)?)\)/g, `](${page}#guide=$1)`)
    .replaceAll(/\[([^\][]+)\]\(\.\.[^)]*\)/g, "$1");
}

/** Join the lines of paragraphs, which the page would draw as lines, as in an answer. */
function unwrapped(source) {
  const lines = [];
  let isCode = false;
  for (const line of source.split("\n")) {
    const joins = !isCode && line !== "" && !BEGINS_BLOCK.test(line) && !(lines.at(-1) ?? "").match(ENDS_BLOCK);
    if (joins) lines.push(`${lines.pop()} ${line.trim()}`);
    else lines.push(line);
    if (line.trimStart().startsWith("```")) isCode = !isCode;
  }
  return lines.join("\n");
}

/** Return the anchor of a heading, as GitHub makes it. */
function slug(heading) {
  return heading.toLowerCase().replaceAll(/[^\w\- ]/g, "").replaceAll(" ", "-");
}

dialog.addEventListener("click", (event) => {
  const link = event.target.closest("a");
  if (link === null || !LINK.test(link.href) || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  open(link.href);
});
