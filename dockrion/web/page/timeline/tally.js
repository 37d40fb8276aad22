// The sums of a run. All times are milliseconds since the epoch, by the service's clock.

const COUNTS = ["input_tokens", "output_tokens", "total_tokens"];
const MAX_MODELS = 1000;
const PAUSE = 2000; // milliseconds between two chunks, from which on the model does not write
const TERMINAL = new Set(["complete", "error", "cancelled"]);
const CHUNKS = new Set(["token", "reasoning"]);

export class Tally {
  createdAt = null;
  startedAt = null;
  endedAt = null;
  firstToken = null; // `{sentAt, receivedAt}`
  last = null; // sequence of the last event
  usage = new Map(); // by model: its counts

  #chunks = 0;
  #writing = 0; // milliseconds
  #writtenAt = null;

  add(frames) {
    for (const { id, event, data, receivedAt } of frames) {
      if (!Number.isInteger(id)) continue;
      this.last = id;
      const time = Date.parse(data.timestamp);
      if (event === "started") this.startedAt ??= time;
      if (event === "token") this.firstToken ??= { sentAt: time, receivedAt };
      if (CHUNKS.has(event)) this.#chunk(time);
      if (event === "usage") this.#use(data);
      if (event === "complete") this.replaceUsage(data.metadata.usage);
      if (TERMINAL.has(event)) this.endedAt = time;
    }
  }

  /** Take the service's own sums, which include events that are not shown; without any, nothing changes. */
  replaceUsage(usage) {
    if (usage) this.usage = new Map(Object.entries(usage));
  }

  /** The counts of all models. */
  get total() {
    const sums = [...this.usage.values()];
    return Object.fromEntries(COUNTS.map((count) => [count, sums.reduce((sum, each) => sum + (each[count] ?? 0), 0)]));
  }

  /** How long the run has taken until `now`, or null. */
  duration(now) {
    const from = this.startedAt ?? this.createdAt;
    return from === null ? null : Math.max((this.endedAt ?? now) - from, 0);
  }

  /** How fast the models write, `{number, unit}`: tokens if their number is known, else chunks; null if they do not. */
  get speed() {
    if (this.#writing === 0) return null;
    const tokens = this.endedAt === null ? 0 : this.total.output_tokens; // before, those of the present message are missing
    return { number: ((tokens || this.#chunks) * 1000) / this.#writing, unit: tokens ? "tokens/s" : "chunks/s" };
  }

  #chunk(time) {
    if (this.#writtenAt !== null && time - this.#writtenAt <= PAUSE) this.#writing += Math.max(time - this.#writtenAt, 0);
    this.#writtenAt = time;
    this.#chunks += 1;
  }

  #use(data) {
    const named = data.model ?? "unknown";
    const model = this.usage.has(named) || this.usage.size < MAX_MODELS ? named : "other models";
    const sum = this.usage.get(model) ?? {};
    for (const count of COUNTS) sum[count] = (sum[count] ?? 0) + (data[count] ?? 0);
    this.usage.set(model, sum);
  }
}
