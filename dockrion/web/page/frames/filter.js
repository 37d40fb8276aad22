// The frames that match what the user searches for. Many are searched in slices, so that the page stays usable.

const SLICE = 8; // milliseconds
const PART = 100; // frames between two looks at the clock
const SPECIAL = /[\\^$.*+?()[\]{}|/]/g;

export class Filter {
  types = new Set(); // an empty one means all
  #pattern = null;
  #order = 0; // of the first frame that was not looked at
  #timer;

  get isEmpty() {
    return this.types.size === 0 && this.#pattern === null;
  }

  /** Match every frame. */
  reset() {
    this.types.clear();
    this.#pattern = null;
  }

  /** Match frames that contain a text, whatever its case. */
  search(text) {
    this.#pattern = text === "" ? null : new RegExp(text.replace(SPECIAL, "\\$&"), "i");
  }

  matches({ type, raw }) {
    return (this.types.size === 0 || this.types.has(type)) && (this.#pattern === null || this.#pattern.test(raw));
  }

  /** Begin again with the first frame. */
  restart() {
    this.#order = 0;
  }

  /** Pass each matching frame that was not looked at to `found`, in slices; call `done` after the last one. */
  run(frames, found, done, time = SLICE) {
    clearTimeout(this.#timer);
    const until = performance.now() + time;
    let at = frames.length === 0 ? 0 : Math.max(this.#order - frames[0].order, 0);
    const matching = [];
    while (at < frames.length && performance.now() < until) {
      const part = frames.slice(at, at + PART);
      matching.push(...part.filter((frame) => this.matches(frame)));
      at += part.length;
    }
    if (at > 0) this.#order = frames[at - 1].order + 1;
    found(matching);
    if (at === frames.length) done();
    else this.#timer = setTimeout(() => this.run(frames, found, done));
  }
}
