// The list of recent runs: filtered by status and text, opened, and two of them selected to be compared.

import { requestJson } from "../api.js";
import { byId } from "../dom.js";
import * as invocations from "./invocations.js";
import { ofInvocation, ofRecord, Row } from "./row.js";

const PAGE = 20;
const MAX_PAGE = 500; // as the service's `limit`
const TICK = 15_000; // milliseconds
const list = byId("runs");
const filter = byId("runs-filter");
const status = byId("runs-status");
const more = byId("more-runs");
const comparing = byId("compare-mode");

let actions = {};
let listed = false; // whether the service lists runs
let loaded = []; // of the service's listing, in its order
let next = null; // the cursor of the next page
let requests = 0;
let rows = new Map(); // those in the list, by key
let selected = []; // the keys of at most two rows
let current = null;
let shown = null; // the state of the displayed run, as its events have it

/**
 * Show the list. `open(item)` opens a run, `compare(older, newer)` compares two by their ids, and
 * `listed` says whether the service lists runs; without, those that this tab remembers are listed.
 */
export function start(options) {
  ({ listed, ...actions } = options);
  byId("recent").hidden = false;
  for (const element of [byId("refresh"), comparing, status.parentElement]) element.hidden = !listed;
  if (!listed) byId("no-runs").textContent = "Runs made with Wait are listed here. This service lists no others.";
  byId("refresh").addEventListener("click", refresh);
  status.addEventListener("change", () => load(null));
  filter.addEventListener("input", applyFilter);
  more.addEventListener("click", () => load(next));
  comparing.addEventListener("click", () => select(!isSelecting()));
  byId("compare").addEventListener("click", compare);
  byId("recent").addEventListener("keydown", onKey);
  invocations.onChanged(draw);
  setInterval(() => rows.forEach((row) => row.tick()), TICK);
  document.addEventListener("visibilitychange", () => rows.forEach((row) => row.tick()));
  return refresh();
}

/** Mark the run that is displayed, null for none. */
export function mark(key) {
  if (key !== current) shown = null;
  current = key;
  for (const [each, row] of rows) row.mark(each === current);
}

/** Show the state of the displayed run: its status, or that it is waiting for an answer. */
export function showState(state) {
  shown = state;
  rows.get(current)?.showState(state);
}

/** Reload the list, if it is shown; after an error it stays as it is. */
export async function refresh() {
  if (byId("recent").hidden) return;
  const before = shown;
  await load(null, Math.min(Math.max(loaded.length, PAGE), MAX_PAGE));
  if (shown !== before) showState(shown);
}

/** Load a page of the listing, the first one in place of all that is loaded. */
async function load(cursor, limit = PAGE) {
  const number = (requests += 1);
  const query = new URLSearchParams({ limit });
  if (status.value === "waiting") query.set("waiting", "true");
  else if (status.value !== "") query.set("status", status.value);
  if (cursor !== null) query.set("cursor", cursor);
  const page = listed ? await requestJson("GET", `runs?${query}`).catch((error) => ({ error })) : { items: [], next: null };
  if (number !== requests) return; // another request has been made since
  byId("runs-problem").textContent = page.error ? `The runs cannot be listed: ${page.error.message}` : "";
  if (page.error) return;
  const items = page.items.map(ofRecord);
  loaded = cursor === null ? items : [...loaded, ...items];
  next = page.next;
  draw();
  if (cursor !== null) rows.get(items[0]?.key)?.button.focus();
}

/** Show what is loaded. The rows that stay are not touched, so that they keep the focus. */
function draw() {
  const own = invocations.all().map(ofInvocation).filter(({ state }) => status.value === "" || state === status.value);
  const items = [...loaded, ...own].sort((one, other) => other.createdAt - one.createdAt);
  const kept = new Map(items.map((item) => [item.key, rows.get(item.key)]));
  for (const [key, row] of rows) if (!kept.has(key)) row.element.remove();
  let at = list.firstElementChild;
  for (const item of items) {
    const row = kept.get(item.key) ?? new Row(item, { open: actions.open, select: toggle });
    kept.set(item.key, row);
    row.show(item);
    if (row.element === at) at = at.nextElementSibling;
    else list.insertBefore(row.element, at);
  }
  rows = kept;
  selected = selected.filter((key) => rows.has(key));
  more.hidden = next === null;
  mark(current);
  showSelection();
  applyFilter();
}

function applyFilter() {
  const text = filter.value.trim().toLowerCase();
  let matching = 0;
  for (const row of rows.values()) {
    row.element.hidden = !row.matches(text);
    matching += row.element.hidden ? 0 : 1;
  }
  const isFiltered = text !== "" || status.value !== "";
  byId("runs-found").textContent = text === "" || rows.size === 0 ? "" : `${matching} of ${rows.size} loaded runs contain this text.`;
  byId("no-runs").hidden = isFiltered || rows.size > 0;
  byId("no-matching-runs").hidden = !isFiltered || rows.size > 0;
  byId("filters").hidden = !isFiltered && rows.size === 0;
  byId("no-inputs").hidden = loaded.length === 0 || loaded.some(({ question }) => question !== null);
  comparing.disabled = loaded.length < 2 && !isSelecting();
}

function isSelecting() {
  return comparing.ariaExpanded === "true";
}

function select(on) {
  comparing.ariaExpanded = String(on);
  comparing.textContent = on ? "Cancel" : "Compare";
  selected = [];
  showSelection();
  if (on) list.querySelector("li:not([hidden]) input:not([hidden])")?.focus();
  else comparing.focus();
}

function toggle(row) {
  const { key } = row.item;
  selected = row.box.checked ? [...selected, key] : selected.filter((each) => each !== key);
  showSelection();
}

function showSelection() {
  const on = isSelecting();
  byId("selection").hidden = !on;
  list.classList.toggle("selecting", on);
  for (const [key, row] of rows) {
    row.box.hidden = !on || !row.item.recorded;
    row.box.checked = selected.includes(key);
    row.box.disabled = selected.length === 2 && !row.box.checked;
  }
  byId("compare").disabled = selected.length !== 2;
  byId("selection-note").textContent = ["Select two runs.", "Select one more.", "Two selected."][selected.length];
}

function compare() {
  const [older, newer] = selected.map((key) => rows.get(key).item).sort((one, other) => one.createdAt - other.createdAt);
  select(false);
  actions.compare(older.key, newer.key);
}

/** Move between the rows with the arrow keys, and leave the selection with Escape. */
function onKey(event) {
  if (event.key === "Escape" && isSelecting()) select(false);
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step === undefined || !list.contains(event.target)) return;
  const column = event.target.matches("input") ? "li:not([hidden]) > input:not([hidden], :disabled)" : "li:not([hidden]) > button";
  const stops = [...list.querySelectorAll(column)];
  stops[stops.indexOf(event.target) + step]?.focus();
  event.preventDefault();
}
