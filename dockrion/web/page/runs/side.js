// One of two runs that are compared: its question, outcome, totals and timeline.

import { clockOffset, request, requestJson } from "../api.js";
import { contentText, outputText } from "../conversation/messages.js";
import { inputBlocks } from "../conversation/question.js";
import { make } from "../dom.js";
import { delay, follow } from "../stream.js";
import { Tally } from "../timeline/tally.js";
import { Timeline } from "../timeline/timeline.js";
import { texts } from "../timeline/totals.js";

const POLL = 1000; // milliseconds
const MAX_SAID = 200_000; // characters of an answer that is put together of tokens
const STATES = { accepted: "Waiting to start", running: "Running", completed: "Complete", failed: "Failed", cancelled: "Cancelled" };
const TOTALS = { time: "Time", firstToken: "First token", speed: "Speed", tokens: "Tokens" };

export class Side {
  answer = null; // text, once the run is over

  #runId;
  #offered;
  #state = make("span", { role: "status", textContent: "Loading" });
  #dot = make("span", { className: "dot", ariaHidden: "true" });
  #note = make("p", { className: "problem" });
  #question = make("div", { className: "question", tabIndex: 0, role: "group", ariaLabel: "Question" });
  #totals = make("dl", { className: "totals" });
  #timeline;
  #tally = new Tally();
  #said = "";
  #controller = new AbortController();

  constructor(runId, label, view, offered) {
    this.#runId = runId;
    this.#offered = offered;
    const root = make("div");
    this.#timeline = new Timeline(root, { view, label: `Timeline of ${runId}` });
    this.element = make("article", { className: "side", ariaLabel: label },
      make("div", { className: "name" }, make("h3", { textContent: label }), make("a", { href: `#run=${runId}`, textContent: runId })),
      make("p", { className: "outcome" }, this.#dot, this.#state),
      this.#question, make("div", {}, this.#totals, this.#note), root);
  }

  /** Read the run to its end; what goes wrong is shown. */
  async read(schema) {
    try {
      this.#showRecord(await this.#record(), schema);
      if (this.#offered.streams) await this.#follow();
      else await this.#poll();
      this.#showEnd(await this.#record());
    } catch (error) {
      if (this.#controller.signal.aborted) return;
      this.#dot.hidden = true;
      this.#state.textContent = error.message;
    }
    this.#timeline.end();
  }

  close() {
    this.#controller.abort();
    this.#timeline.clear();
  }

  #record() {
    const { signal } = this.#controller;
    return requestJson("GET", `runs/${this.#runId}`, { signal, timeout: this.#offered.timeout });
  }

  #showRecord(record, schema) {
    this.#showState(record);
    this.#tally.createdAt = Date.parse(record.created_at);
    this.#timeline.created(this.#tally.createdAt);
    const { question } = record.input === null ? { question: [make("p", { className: "note", textContent: "The input of this run is not stored." })] } : inputBlocks(record.input, schema);
    this.#question.replaceChildren(...question);
    this.#showTotals();
  }

  #showState({ status }) {
    this.#dot.className = `dot ${status}`;
    this.#state.textContent = STATES[status];
  }

  #showEnd(record) {
    this.#showState(record);
    this.#tally.startedAt ??= record.started_at && Date.parse(record.started_at);
    this.#tally.endedAt ??= record.completed_at && Date.parse(record.completed_at);
    this.#tally.replaceUsage(record.metadata.usage);
    this.#showTotals();
    if (record.error !== null) this.#note.textContent = `${record.error.code}: ${record.error.error}`;
    const { output } = record;
    this.answer = outputText(output) ?? (output === null ? this.#said || null : JSON.stringify(output, null, 2));
  }

  #showTotals() {
    const shown = texts(this.#tally, { now: this.#tally.endedAt ?? Date.now() + clockOffset() });
    this.#totals.replaceChildren(...Object.entries(TOTALS).map(([name, title]) => make("div", {},
      make("dt", { textContent: title }), make("dd", { textContent: shown[name] || "–" }))));
  }

  async #follow() {
    const { signal } = this.#controller;
    const { timeout } = this.#offered;
    let frames = [];
    await follow({
      first: null, timeout, signal,
      resume: (after) => request("GET", `runs/${this.#runId}/events`, { signal, timeout, headers: after > 0 ? { "Last-Event-ID": String(after) } : {} }),
      on: {
        opened: () => (this.#note.textContent = ""),
        frame: (frame) => frames.push({ ...frame, receivedAt: Date.now() + clockOffset() }),
        batch: () => {
          this.#add(frames);
          frames = [];
          return new Promise((resolve) => setTimeout(resolve)); // clicks come between
        },
        lost: () => (this.#note.textContent = "The connection is lost, trying again."),
      },
    });
  }

  #add(frames) {
    this.#timeline.add(frames);
    this.#tally.add(frames);
    for (const { id, event, data } of frames) {
      if (event === "gap") this.#note.textContent = `Events before ${data.first_available} are no longer stored.`;
      if (id !== null && event === "started") this.#showState({ status: "running" });
      if (id !== null && event === "started" && data.attempt !== undefined) this.#said = "";
      if (id !== null && event === "token" && this.#said.length < MAX_SAID) this.#said += data.content;
      if (id !== null && event === "message" && this.#said === "") this.#said = contentText(data.content);
    }
    this.#showTotals();
  }

  async #poll() {
    const { signal } = this.#controller;
    while ((await this.#record()).completed_at === null) {
      await delay(POLL, signal);
    }
  }
}
