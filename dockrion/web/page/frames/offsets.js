// Where each row of a list begins: a Fenwick tree over the rows' heights.

export class Offsets {
  #heights = [];
  #sums = [0]; // at i, the heights of the i & -i rows that end with row i - 1

  constructor(heights = []) {
    for (const height of heights) this.push(height);
  }

  get total() {
    return this.before(this.#heights.length);
  }

  push(height) {
    this.#heights.push(height);
    const at = this.#heights.length;
    let sum = height;
    for (let step = 1; step < (at & -at); step *= 2) sum += this.#sums[at - step];
    this.#sums.push(sum);
  }

  /** Change the height of a row, and return by how much. */
  set(index, height) {
    const change = height - this.#heights[index];
    this.#heights[index] = height;
    for (let at = index + 1; at < this.#sums.length; at += at & -at) this.#sums[at] += change;
    return change;
  }

  /** Return the height of the first `count` rows. */
  before(count) {
    let sum = 0;
    for (let at = count; at > 0; at -= at & -at) sum += this.#sums[at];
    return sum;
  }

  /** Return the index of the row at an offset: the first row before it, the number of rows after the last. */
  find(offset) {
    let index = 0;
    let left = offset;
    for (let step = 2 ** 30; step >= 1; step /= 2) {
      if (index + step >= this.#sums.length || this.#sums[index + step] > left) continue;
      index += step;
      left -= this.#sums[index];
    }
    return index;
  }
}
