// The Frames tab: the raw data of the stream, searched, filtered, copied and saved.

import { byId, copyButton, copyText, make, number } from "../dom.js";
import { Filter } from "./filter.js";
import { excerpt, json, pieces } from "./frame-text.js";
import { FrameLog } from "./log.js";
import { drawPieces } from "./pieces.js";
import { stored } from "./stored.js";
import { VirtualList } from "./virtual-list.js";

const PAGE = 20_000; // events that are loaded again at once
const SHOWN = 2000; // milliseconds for which a button says what it did
const panel = byId("frames");
const find = (name) => panel.querySelector(name);
const log = new FrameLog();
const filter = new Filter();
const list = new VirtualList(find(".scroll"), draw);
const chips = new Map(); // by type

let runId = null;
let newest = 0; // sequence of the last event of the run
let oldest = 1; // of the first event that is stored
let isPaged = false; // whether earlier frames are shown, and new ones only counted
let pageEnd = 0; // sequence with which they end
let reading = new AbortController(); // of stored events

export function clear() {
  runId = null;
  newest = 0;
  oldest = 1;
  isPaged = false;
  chips.clear();
  find(".types").replaceChildren();
  filter.types.clear();
  log.forgetTypes();
  empty(true);
}

/** Load frames that are no longer in memory from a run. */
export function name(id) {
  runId = id;
}

/** Add frames, and between them notes about the connection. */
export function add(frames) {
  for (const { id, event, data } of frames) {
    if (id !== null) newest = id;
    else if (event === "gap") oldest = Math.max(oldest, data.first_available);
  }
  if (!isPaged) keep(frames);
}

export function end() {}

/** Open the tab and in it the frame of an event. */
export async function show(sequence) {
  byId("frames-tab").click();
  if (!filter.isEmpty) {
    filter.reset();
    find("input").value = "";
    for (const chip of chips.values()) chip.ariaPressed = "false";
    filterAgain();
  }
  const isKept = log.firstId <= sequence && sequence <= log.lastId;
  if (!isKept && runId !== null) await load(sequence, sequence + PAGE, false);
  filter.run(log.frames, found, showCounts, Infinity);
  list.open(list.items.findIndex(({ id }) => id === sequence));
}

function empty(showEnd) {
  reading.abort();
  reading = new AbortController();
  log.clear();
  filter.restart();
  list.show([], showEnd);
  showCounts();
}

function keep(frames) {
  const first = log.frames[0];
  log.add(frames);
  if (first !== undefined && first !== log.frames[0]) {
    const kept = list.items.findIndex(({ order }) => order >= log.frames[0].order);
    list.removeFirst(kept < 0 ? list.items.length : kept);
  }
  filter.run(log.frames, found, showCounts);
}

function found(frames) {
  find(".scroll").style.setProperty("--digits", `${String(newest).length}ch`);
  list.append(frames);
}

function filterAgain() {
  filter.restart();
  list.show([], false);
  filter.run(log.frames, found, () => {
    showCounts();
    byId("announcement").textContent = find(".count").textContent;
  });
}

function draw(frame, isOpen) {
  const { id, event, raw } = frame;
  if (frame.isNote) {
    const head = make("p", { className: "row connection-note", textContent: raw });
    return { head, elements: [head] };
  }
  const { name, line } = excerpt(frame);
  const head = make("button", { type: "button", className: "row", ariaExpanded: String(isOpen) },
    make("span", { className: "sequence", textContent: id ?? "–" }),
    make("span", { className: "type", textContent: event }),
    make("span", { className: "name", textContent: name }),
    make("span", { className: "line", textContent: line }));
  if (!isOpen) return { head, elements: [head] };
  const text = make("pre", { tabIndex: 0, role: "group", ariaLabel: `${event} ${id ?? ""}` });
  const bar = make("div", { className: "bar" }, head, copyButton(() => raw, text));
  return { head, elements: [bar, text], close: drawPieces(text, pieces(raw)) };
}

function showCounts() {
  const { frames, counts } = log;
  for (const [type, count] of counts) (chips.get(type) ?? addChip(type)).lastChild.textContent = number(count);
  const all = `${number(frames.length)} ${frames.length === 1 ? "frame" : "frames"}`;
  find(".count").textContent = filter.isEmpty ? all : `${number(list.items.length)} of ${all}`;
  find(".none").hidden = list.items.length > 0;
  find(".none").textContent = frames.length === 0 ? "The frames of the stream appear here." : "No frame matches.";
  find("[value=copy]").textContent = filter.isEmpty ? "Copy all" : "Copy matching";
  find("[value=download]").textContent = filter.isEmpty ? "Download all" : "Download matching";
  showPages();
}

function addChip(type) {
  const chip = make("button", { type: "button", className: "chip", ariaPressed: "false", title: type },
    make("span", { className: "name", textContent: type }), make("span", { className: "number" }));
  chip.addEventListener("click", () => {
    if (!filter.types.delete(type)) filter.types.add(type);
    chip.ariaPressed = String(filter.types.has(type));
    filterAgain();
  });
  chips.set(type, chip);
  find(".types").append(chip);
  return chip;
}

function showPages(problem = "") {
  const first = log.firstId;
  find(".pages").hidden = !(first > oldest) && !isPaged && problem === "";
  if (find(".pages").hidden) return;
  const range = () => `Events ${number(first)} to ${number(log.lastId)} of ${number(newest)}; the others were dropped to save memory.`;
  find(".pages .extent").textContent = problem || (first === undefined ? "Loading …" : range());
  find("[value=earlier]").hidden = runId === null || !(first > oldest);
  find("[value=later]").hidden = runId === null || !isPaged;
}

/** Show a page of stored events in place of what is shown. */
async function load(first, last, showEnd) {
  isPaged = true;
  pageEnd = first - 1;
  empty(showEnd);
  const { signal } = reading;
  let problem;
  try {
    for await (const batch of stored(runId, first, () => Math.min(last, newest), signal)) {
      keep(batch);
      if (log.isHalfFull) break;
    }
    if (log.frames.length === 0) problem = "These events are no longer stored.";
    pageEnd = log.lastId ?? last;
    isPaged = pageEnd < newest;
  } catch (error) {
    problem = `These events cannot be loaded: ${error.message}`;
  }
  if (!signal.aborted) showPages(problem);
}

/** Yield arrays of all frames of the run, of those included that are not in memory. */
async function* everyFrame() {
  if (runId === null || (!(log.firstId > oldest) && !isPaged)) yield log.frames;
  else yield* stored(runId, oldest, () => newest, reading.signal);
}

async function download() {
  const parts = [];
  for await (const frames of everyFrame()) {
    const matching = frames.filter((frame) => !frame.isNote && filter.matches({ ...frame, type: log.typeOf(frame.event) }));
    parts.push(new Blob(matching.map(({ raw }) => `${json(raw)}\n`)));
  }
  const file = URL.createObjectURL(new Blob(parts, { type: "application/x-ndjson" }));
  make("a", { href: file, download: `${runId ?? "run"}.ndjson` }).click();
  setTimeout(() => URL.revokeObjectURL(file), SHOWN);
}

async function copyMatching(button) {
  const matching = log.frames.filter((frame) => filter.matches(frame)).map(({ raw }) => raw);
  button.textContent = (await copyText(matching.join("\n\n"))) ? "Copied" : "Not copied";
  setTimeout(showCounts, SHOWN);
}

const ACTIONS = {
  expand: () => list.openAll(true),
  collapse: () => list.openAll(false),
  copy: copyMatching,
  download: () => download().catch((error) => showPages(`The events cannot be loaded: ${error.message}`)),
  earlier: () => load(Math.max(log.firstId - PAGE, oldest), log.firstId - 1, true),
  later: () => load(pageEnd + 1, pageEnd + PAGE, false),
};

panel.addEventListener("click", ({ target }) => {
  const button = target.closest("button[value]:not([value=''])");
  if (button !== null) ACTIONS[button.value]?.(button);
});

find("input").addEventListener("input", ({ target }) => {
  filter.search(target.value);
  filterAgain();
});
