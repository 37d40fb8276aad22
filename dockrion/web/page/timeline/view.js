// Which part of a run's time is seen, in milliseconds since its beginning.

const LEAST = 1; // millisecond

/** What is seen of the time; timelines that share it show the same. It sends `change`. */
export class View extends EventTarget {
  #ends = new Map();
  #shown = null; // null for everything

  /** The end of the longest timeline. */
  get end() {
    return Math.max(LEAST, ...this.#ends.values());
  }

  get from() {
    return this.#shown?.from ?? 0;
  }

  get to() {
    return this.#shown?.to ?? this.end;
  }

  get isWhole() {
    return this.#shown === null;
  }

  /** Set how long a timeline is. */
  extend(timeline, end) {
    const before = this.end;
    this.#ends.set(timeline, end);
    if (this.end !== before) this.#changed();
  }

  /** Forget how long a timeline was, and show everything. */
  reset(timeline) {
    this.#ends.delete(timeline);
    this.#shown = null;
    this.#changed();
  }

  /** Show a part, as far as there is time in it. */
  show(from, to) {
    const length = Math.min(Math.max(to - from, LEAST), this.end);
    const start = Math.min(Math.max(from, 0), this.end - length);
    this.#shown = length >= this.end ? null : { from: start, to: start + length };
    this.#changed();
  }

  showAll() {
    this.show(0, Infinity);
  }

  /** Show `factor` times as much; the time at `around` stays where it is. */
  zoom(factor, around = (this.from + this.to) / 2) {
    this.show(around - (around - this.from) * factor, around + (this.to - around) * factor);
  }

  /** Move by a part of what is seen. */
  move(part) {
    const length = this.to - this.from;
    const from = Math.min(Math.max(this.from + part * length, 0), this.end - length);
    this.show(from, from + length);
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}
