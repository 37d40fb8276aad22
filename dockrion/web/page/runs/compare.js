// Two runs side by side, on one time scale, and the difference of their answers.

import { requestJson } from "../api.js";
import { byId, displayText, make } from "../dom.js";
import { View } from "../timeline/view.js";
import { difference } from "./diff.js";
import { Side } from "./side.js";

const part = byId("comparison");
const answers = byId("answers");
const SUMMARY = { removed: "only in the first", added: "only in the second" };

let offered = {};
let sides = [];

/** Set whether the service streams events, and after how many milliseconds a connection is dead. */
export function configure({ streams, timeout }) {
  offered = { streams, timeout };
}

/** Compare two runs, of which either may still be at work. */
export async function show(one, other) {
  hide();
  byId("run").hidden = true;
  part.hidden = false;
  const view = new View();
  sides = [one, other].map((runId, index) => new Side(runId, ["First run", "Second run"][index], view, offered));
  byId("sides").replaceChildren(...sides.map(({ element }) => element));
  answers.replaceChildren(make("p", { className: "note", textContent: "The answers are compared when both runs are over." }));
  part.focus();
  const shown = sides;
  const { input_schema: schema = null } = await requestJson("GET", "schema").catch(() => ({}));
  await Promise.all(shown.map((side) => side.read(schema)));
  if (shown === sides) showDifference(...shown.map(({ answer }) => answer));
}

/** Show the run again, and stop reading. */
export function hide() {
  for (const side of sides) side.close();
  sides = [];
  part.hidden = true;
  byId("run").hidden = false;
  byId("sides").replaceChildren();
  answers.replaceChildren();
}

function showDifference(one, other) {
  if (one === null || other === null) {
    answers.replaceChildren(make("p", { className: "note", textContent: "There are no two answers to compare." }));
  } else if (one === other) {
    answers.replaceChildren(make("p", { className: "note", textContent: "The answers are the same." }), text("Answer of both runs", one));
  } else {
    const pieces = difference(one, other);
    answers.replaceChildren(...(pieces === null ? bothTexts(one, other) : inOneText(pieces)));
  }
}

function inOneText(pieces) {
  const tags = { same: "span", removed: "del", added: "ins" };
  const legend = Object.entries(SUMMARY).map(([kind, text]) => make(tags[kind], { textContent: text }));
  return [
    make("p", { className: "note" }, "Words ", legend[0], " and ", legend[1], "."),
    make("p", { className: "difference", tabIndex: 0, role: "region", ariaLabel: "Difference of the answers" }, ...pieces.map(({ kind, text }) => make(tags[kind], { textContent: text }))),
  ];
}

function bothTexts(one, other) {
  return [
    make("p", { className: "note", textContent: "The answers differ too much to compare them word by word." }),
    make("div", { className: "texts" }, text("Answer of the first run", one), text("Answer of the second run", other)),
  ];
}

function text(label, value) {
  return make("pre", { className: "scroll", textContent: displayText(value), tabIndex: 0, role: "region", ariaLabel: label });
}
