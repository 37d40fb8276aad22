// The tab that shows programs which repeat what was just done.

import { credential } from "../api.js";
import { byId, copyButton, make } from "../dom.js";
import * as tabs from "../tabs.js";
import { snippets } from "./snippets.js";

const LANGUAGES = {
  curl: { name: "curl", needs: "In a shell, with curl 7.82 or later." },
  python: { name: "Python", needs: "With Python 3.11 or later, after: pip install dockrion" },
  javascript: { name: "JavaScript", needs: "With Node.js 18 or later, in a file whose name ends in .mjs." },
};

const shown = {}; // by language, the element of its program
const keyNotes = [];

/** Show the programs for a request. */
export function show(request) {
  for (const [language, program] of Object.entries(snippets(request))) shown[language].textContent = program;
  for (const note of keyNotes) note.hidden = credential() === null;
}

const list = make("div", { role: "tablist", ariaLabel: "Language" });
byId("code").append(list);
for (const [language, { name, needs }] of Object.entries(LANGUAGES)) {
  const isFirst = list.childElementCount === 0;
  const tab = make("button", { type: "button", role: "tab", id: `${language}-tab`, ariaSelected: String(isFirst), tabIndex: isFirst ? 0 : -1, textContent: name });
  tab.setAttribute("aria-controls", `${language}-panel`);
  list.append(tab);
  const pre = make("pre", { id: language, tabIndex: 0, role: "group", ariaLabel: `Code, ${name}` });
  const keyNote = make("span", { textContent: " The variable DOCKRION_KEY has your key or token." });
  const note = make("p", { className: "note" }, needs, keyNote);
  const panel = make("div", { role: "tabpanel", id: `${language}-panel`, hidden: !isFirst }, copyButton(() => pre.textContent, pre), pre, note);
  panel.setAttribute("aria-labelledby", tab.id);
  byId("code").append(panel);
  shown[language] = pre;
  keyNotes.push(keyNote);
}
tabs.connect(list);
