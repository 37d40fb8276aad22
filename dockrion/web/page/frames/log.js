// The newest frames of a run, as many as memory allows.

const MAX_SIZE = 64 * 1024 * 1024; // characters, counting OVERHEAD for each frame
const AFTER_DROP = 0.9; // of it
const OVERHEAD = 200;
const MAX_TYPES = 40;
const OTHERS = "other types"; // after the first MAX_TYPES

export class FrameLog {
  frames = [];
  counts = new Map(); // by type
  #size = 0;
  #order = 0;

  /** Whether half of the memory is used. */
  get isHalfFull() {
    return this.#size > MAX_SIZE / 2;
  }

  get firstId() {
    return this.frames.find(({ id }) => id !== null)?.id;
  }

  get lastId() {
    return this.frames.findLast(({ id }) => id !== null)?.id;
  }

  clear() {
    this.frames = [];
    for (const type of this.counts.keys()) this.counts.set(type, 0);
    this.#size = 0;
  }

  forgetTypes() {
    this.counts.clear();
  }

  /** Add frames, and drop the oldest ones over the limit. Their parsed data is not kept. */
  add(frames) {
    for (const { id, event, raw, note } of frames) {
      const isNote = note !== undefined;
      const type = isNote ? "connection" : this.typeOf(event);
      const frame = { order: this.#order, id, event, type, isNote, raw: isNote ? note : raw };
      this.#order += 1;
      this.#size += sizeOf(frame);
      this.frames.push(frame);
      this.counts.set(type, (this.counts.get(type) ?? 0) + 1);
    }
    if (this.#size > MAX_SIZE) this.#drop();
  }

  /** Return the name under which an event is counted. */
  typeOf(event) {
    return this.counts.has(event) || this.counts.size < MAX_TYPES ? event : OTHERS;
  }

  #drop() {
    let count = 0;
    while (this.#size > MAX_SIZE * AFTER_DROP && count < this.frames.length - 1) {
      const frame = this.frames[count];
      this.#size -= sizeOf(frame);
      this.counts.set(frame.type, this.counts.get(frame.type) - 1);
      count += 1;
    }
    this.frames.splice(0, count);
  }
}

function sizeOf({ raw }) {
  return raw.length + OVERHEAD;
}
