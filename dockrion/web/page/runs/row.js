// A row of the list of runs: what was asked, what became of it, how long it took, and when it was.

import { clockOffset } from "../api.js";
import { duration, make } from "../dom.js";
import { key } from "./invocations.js";

const STATES = {
  accepted: "waiting to start", running: "running", waiting: "waiting for an answer",
  completed: "completed", failed: "failed", cancelled: "cancelled",
};
const [MINUTE, HOUR, DAY] = [60_000, 3_600_000, 86_400_000]; // milliseconds
const NO_QUESTION = new Set([null, "{}", "[]", "null", '""']);

/** Return what rows show of a run's record. */
export function ofRecord(run) {
  return {
    key: run.run_id,
    question: run.input_excerpt,
    state: run.waiting_for ? "waiting" : run.status,
    createdAt: Date.parse(run.created_at),
    took: run.completed_at && run.started_at ? Date.parse(run.completed_at) - Date.parse(run.started_at) : null,
    recorded: true,
  };
}

/** Return what rows show of an invocation, which has no record. */
export function ofInvocation(invocation) {
  return {
    key: key(invocation),
    question: invocation.question,
    state: invocation.state,
    createdAt: invocation.createdAt + clockOffset(),
    took: invocation.completedAt === null ? null : invocation.completedAt - invocation.createdAt,
    recorded: false,
  };
}

/** A row of the list: a button that opens the run and, while runs are selected, a box that selects it. */
export class Row {
  #name = make("span", { className: "name" });
  #state = make("span", { className: "state-name" });
  #icon = make("span", { className: "outcome", ariaHidden: "true" });
  #took = make("span", { className: "took" });
  #time = make("time");
  #kept = make("span");
  #age = "";

  constructor(item, { open, select }) {
    this.item = item;
    this.button = make("button", { type: "button", className: "quiet" }, this.#icon, this.#name, " ",
      make("span", { className: "note" }, this.#state, this.#took, this.#time, this.#kept));
    this.button.addEventListener("click", () => open(this.item));
    this.box = make("input", { type: "checkbox", hidden: true });
    this.box.addEventListener("change", () => select(this));
    this.element = make("li", {}, this.box, this.button);
    this.show(item);
  }

  /** Whether the row contains a text, in lower case. */
  matches(text) {
    return [this.#name.textContent, this.item.key].some((each) => each.toLowerCase().includes(text));
  }

  show(item) {
    this.item = item;
    const asked = !NO_QUESTION.has(item.question);
    this.#name.textContent = asked ? item.question : item.recorded ? item.key : "no input";
    this.#name.classList.toggle("code", !asked && item.recorded);
    this.button.title = item.recorded ? `Run ${item.key}` : "Made with Wait, which stores nothing: this tab remembers it until it is reloaded.";
    this.#kept.textContent = item.recorded ? "" : ", not stored";
    this.box.ariaLabel = `Select ${this.#name.textContent}`;
    this.#took.textContent = item.took === null ? "" : `, ${item.took < 1 ? "under 1 ms" : duration(item.took)}`;
    this.#time.dateTime = new Date(item.createdAt).toISOString();
    this.#time.title = new Date(item.createdAt - clockOffset()).toLocaleString();
    this.showState(item.state);
    this.tick();
  }

  /** Show the state of the displayed run, which its events say before its record does. */
  showState(state) {
    this.#icon.className = `outcome ${state}`;
    this.#state.textContent = STATES[state];
  }

  mark(isCurrent) {
    this.button.ariaCurrent = String(isCurrent);
  }

  /** Show how long ago the run was. */
  tick() {
    const age = `, ${ago(Date.now() + clockOffset() - this.item.createdAt)}`;
    if (age !== this.#age) this.#time.textContent = this.#age = age;
  }
}

function ago(milliseconds) {
  if (milliseconds < MINUTE) return "just now";
  if (milliseconds < HOUR) return `${Math.floor(milliseconds / MINUTE)} min ago`;
  if (milliseconds < DAY) return `${Math.floor(milliseconds / HOUR)} h ago`;
  return milliseconds < 2 * DAY ? "yesterday" : `${Math.floor(milliseconds / DAY)} days ago`;
}
