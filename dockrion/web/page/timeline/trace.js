// What happens in a run: bars, which last some time, and marks, which do not, in a row for each source.
// All times are milliseconds since the epoch.

import { LANES, Sources } from "./sources.js";

const MAX_ITEMS = 50_000;
const MAX_SIZE = 16_000_000; // characters of events and text that are kept for the details
const MAX_NAME = 200; // characters
const MAX_STREAMS = 8; // that one source may write at the same time
const PAUSE = 2000; // between two tokens of one bar

/** The kinds of bars and marks: what they are called, and in which lanes of a row they are. */
export const KINDS = {
  queue: { title: "Queue", lanes: "run" },
  run: { title: "Run", lanes: "run" },
  question: { title: "Question", lanes: "run" },
  step: { title: "Step", lanes: "step" },
  tool: { title: "Tool", lanes: "work" },
  reasoning: { title: "Reasoning", lanes: "work" },
  text: { title: "Text", lanes: "work" },
  message: { title: "Message", lanes: "mark" },
  progress: { title: "Progress", lanes: "mark" },
  checkpoint: { title: "Checkpoint", lanes: "mark" },
  custom: { title: "Event", lanes: "mark" },
};

export class Trace {
  origin = null; // when the run was created, or when its first known event was emitted
  latest = null; // the time of the last event
  kinds = new Set(); // that there are
  dropped = 0; // bars and marks that are no longer kept

  #sources = new Sources();
  #created = null;
  #run = null;
  #open = { tool: new Map(), question: new Map() }; // by id, those without a result or an answer
  #streams = new Map(); // by source, its bars that the next tokens may belong to, by message_id
  #messages = new Map(); // by message_id, the bars of messages that are not yet complete
  #count = 0;
  #kept = []; // items with events or text
  #size = 0;

  /** The rows, in the order in which they are shown. */
  get rows() {
    return this.#sources.rows;
  }

  /** Set when the run was created, which may be some time before it started. */
  created(time) {
    this.#created = time;
    this.origin = Math.min(time, this.origin ?? time);
    this.#showQueue();
  }

  /** Add the frames of events, in their order; control frames are ignored. */
  add(frames) {
    for (const frame of frames) {
      if (!Number.isInteger(frame.id)) continue;
      const time = Date.parse(frame.data.timestamp);
      this.origin ??= time;
      this.latest = Math.max(time, this.latest ?? time);
      if (Object.hasOwn(this.#add, frame.event)) this.#add[frame.event](frame, frame.data, time);
      else if (frame.event.startsWith("custom:")) this.#mark("custom", frame, time, frame.event.slice("custom:".length), frame.data.source);
    }
    while (this.#count > MAX_ITEMS) this.#dropOldest();
    while (this.#size > MAX_SIZE) this.#forget(this.#kept.shift());
  }

  #add = {
    started: (frame, data, time) => this.#start(frame, data, time),
    complete: (frame, _, time) => this.#finish(frame, time),
    error: (frame, _, time) => this.#finish(frame, time),
    cancelled: (frame, _, time) => this.#finish(frame, time),
    token: (frame, data, time) => this.#write("text", frame, data, time),
    reasoning: (frame, data, time) => this.#write("reasoning", frame, data, time),
    message: (frame, data, time) => this.#message(frame, data, time),
    step: (frame, data, time) => this.#past("step", frame, data, time, data.node_name),
    tool_call: (frame, data, time) => this.#begin("tool", data.tool_call_id, frame, data.source, time, data.name),
    tool_result: (frame, data, time) => this.#toolResult(frame, data, time),
    input_requested: (frame, data, time) => this.#begin("question", data.request_id, frame, undefined, time, "waits for an answer"),
    input_received: (frame, data, time) => this.#finishOpen("question", data.request_id, frame, time),
    progress: (frame, data, time) => this.#mark("progress", frame, time, data.step),
    checkpoint: (frame, data, time) => this.#mark("checkpoint", frame, time, data.name),
  };

  #start(frame, { agent_name: name, attempt }, time) {
    if (this.#run !== null) {
      this.#endOpen(time);
      this.#mark("custom", frame, time, attempt === undefined ? "started again" : `attempt ${attempt}`);
      return;
    }
    this.#sources.root.label = name;
    this.#run = this.#put("run", frame, undefined, time, null, "run");
    this.#showQueue();
  }

  #showQueue() {
    if (this.#created === null || this.#run === null || this.#created >= this.#run.from) return;
    this.#put("queue", { id: null }, undefined, this.#created, this.#run.from, "queue");
    this.#created = null;
  }

  #finish(frame, time) {
    this.#run ??= this.#put("run", frame, undefined, this.origin, null, "run");
    this.#run.failed = frame.event === "error";
    this.#keep(this.#run, frame);
    close(this.#run, frame, time);
    this.#endOpen(time);
  }

  /** End whatever has no end of its own. */
  #endOpen(time) {
    for (const kind of ["tool", "question"]) {
      for (const id of this.#open[kind].keys()) this.#finishOpen(kind, id, null, time);
    }
    for (const source of this.#streams.keys()) this.#closeStreams(source);
    this.#messages.clear();
  }

  /** Add what is over when its event comes, which tells how long it took. */
  #past(kind, frame, { source, duration_ms: milliseconds }, time, name) {
    const item = this.#put(kind, frame, source, time - Math.max(milliseconds ?? 0, 0), time, name);
    this.#keep(item, frame);
    return item;
  }

  #mark(kind, frame, time, name, source) {
    this.#keep(this.#put(kind, frame, source, time, time, name), frame);
  }

  #begin(kind, id, frame, source, time, name) {
    const item = this.#put(kind, frame, source, time, null, name);
    this.#keep(item, frame);
    this.#open[kind].set(id, item);
    this.#closeStreams(source);
  }

  /** Finish an open item, and return it; null if there is none. Without a frame, it has neither result nor answer. */
  #finishOpen(kind, id, frame, time) {
    const item = this.#open[kind].get(id) ?? null;
    if (item === null) return null;
    this.#open[kind].delete(id);
    if (frame !== null) this.#keep(item, frame);
    close(item, frame ?? { id: item.last }, time);
    return item;
  }

  #toolResult(frame, data, time) {
    const item = this.#finishOpen("tool", data.tool_call_id, frame, time) ?? this.#past("tool", frame, data, time, data.name ?? "tool");
    item.failed = data.is_error === true;
  }

  /** Add a token or a piece of reasoning to the bar that it continues. */
  #write(kind, frame, { source, message_id: messageId, content }, time) {
    const bar = this.#stream(kind, frame, source, messageId, time);
    bar.to = Math.max(bar.to, time);
    bar.last = frame.id;
    bar.chunks += 1;
    if (bar.text !== null) bar.text += content;
    this.#grow(bar, content.length);
  }

  #stream(kind, frame, source, messageId, time) {
    const streams = this.#streams.get(source) ?? new Map();
    this.#streams.set(source, streams);
    const before = streams.get(messageId);
    if (before?.kind === kind && time - before.to <= PAUSE) return before;
    for (const [id, bar] of streams) {
      if (id === messageId || time - bar.to > PAUSE || streams.size >= MAX_STREAMS) closeStream(streams, id);
    }
    const bar = this.#put(kind, frame, source, time, time, KINDS[kind].title.toLowerCase());
    Object.assign(bar, { isGrowing: true, text: "" });
    streams.set(messageId, bar);
    if (messageId !== undefined) this.#messages.set(messageId, bar);
    return bar;
  }

  #closeStreams(source) {
    const streams = this.#streams.get(source) ?? new Map();
    for (const id of streams.keys()) closeStream(streams, id);
    this.#streams.delete(source);
  }

  /** Add a mark for a message, unless its tokens have a bar. */
  #message(frame, { source, message_id: messageId, role, name, content }, time) {
    const before = this.#streams.get(source)?.get(messageId);
    this.#closeStreams(source);
    if (this.#messages.delete(messageId) || (before?.kind === "text" && before.text?.endsWith(content))) return;
    this.#mark("message", frame, time, `message of ${name ?? role}`, source);
  }

  /** Add an item, which is open while `to` is null. */
  #put(kind, frame, source, from, to, name) {
    const row = this.#sources.row(source);
    const item = {
      kind, row, name: name.slice(0, MAX_NAME), from: Math.max(from, this.origin), to, isGrowing: false, failed: false,
      first: frame.id, last: frame.id, // sequences
      events: [], text: null, chunks: 0, size: 0,
    };
    insert(row.items[KINDS[kind].lanes], item);
    row.changes += 1;
    this.kinds.add(kind);
    this.#count += 1;
    return item;
  }

  /** Keep an event's data for the details of an item. */
  #keep(item, { data, raw }) {
    item.events?.push(data);
    this.#grow(item, raw.length);
  }

  #grow(item, size) {
    if (item.events === null) return;
    if (item.size === 0) this.#kept.push(item);
    item.size += size;
    this.#size += size;
  }

  #forget(item) {
    this.#size -= item.size;
    Object.assign(item, { size: 0, events: null, text: null });
  }

  /** Drop a tenth of the items: the oldest ones. */
  #dropOldest() {
    const items = this.rows.flatMap((row) => LANES.flatMap((lanes) => row.items[lanes]));
    const times = Float64Array.from(items, ({ from }) => from).sort();
    const isDropped = (item) => item.from <= times[Math.floor(items.length / 10)] && item !== this.#run && item.kind !== "queue";
    for (const row of this.rows) {
      for (const lanes of LANES) row.items[lanes] = row.items[lanes].filter((item) => !isDropped(item));
      row.changes += 1;
    }
    for (const open of [this.#open.tool, this.#open.question, this.#messages, ...this.#streams.values()]) {
      for (const [key, item] of open) if (isDropped(item)) open.delete(key);
    }
    for (const item of this.#kept.filter(isDropped)) this.#forget(item);
    this.#kept = this.#kept.filter(({ size }) => size > 0);
    const dropped = items.filter(isDropped).length;
    this.#count -= dropped;
    this.dropped += dropped;
  }
}

function close(item, frame, time) {
  item.to = Math.max(item.from, time);
  item.last = frame.id;
  item.row.changes += 1;
}

function closeStream(streams, id) {
  const bar = streams.get(id);
  if (bar === undefined) return;
  bar.isGrowing = false;
  bar.row.changes += 1;
  streams.delete(id);
}

/** Insert an item in the order of beginnings; of those that begin together, the longest is first. */
function insert(items, item) {
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (isBefore(item, items[middle])) high = middle;
    else low = middle + 1;
  }
  items.splice(low, 0, item);
}

function isBefore(one, other) {
  return one.from < other.from || (one.from === other.from && (one.to ?? Infinity) > (other.to ?? Infinity));
}
