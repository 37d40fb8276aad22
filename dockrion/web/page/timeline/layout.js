// Where bars and marks are drawn: in which lane of their row, and which of them together.

const MAX_LANES = 6; // of steps, or of tools and texts; what does not fit is drawn together in the last one
const SECOND = 1000;
const MINUTE = 60 * SECOND;
const STEPS = [
  0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500,
  ...[1, 2, 5, 10, 15, 30].map((seconds) => seconds * SECOND),
  ...[1, 2, 5, 10, 15, 30, 60, 120, 360, 720, 1440].map((minutes) => minutes * MINUTE),
];

/** Divide items into lanes, in which they do not overlap, except in the last one. */
export function divide(items) {
  const lanes = [];
  for (const item of items) {
    const lane = lanes.find(({ end }) => end <= item.from) ?? (lanes.length < MAX_LANES ? newLane(lanes) : lanes.at(-1));
    lane.items.push(item);
    lane.end = item.isGrowing || item.to === null ? Infinity : Math.max(lane.end, item.to);
  }
  return lanes.map((lane) => lane.items);
}

function newLane(lanes) {
  const lane = { items: [], end: -Infinity };
  lanes.push(lane);
  return lane;
}

/**
 * Return what is drawn of a lane: `{items, from, to}`, with several items where they are too close to each other.
 *
 * `from` and `to` are the times that are seen, and `now` is the end of open items. What is shorter than `least` is
 * drawn together, for no longer than `most`.
 */
export function shapes(lane, { from, to, now, least, most }) {
  const drawn = [];
  for (const item of lane) {
    const end = item.to ?? Math.max(now, item.from);
    if (end < from || item.from > to) continue;
    const last = drawn.at(-1);
    const isNarrow = end - item.from < least;
    if (last !== undefined && (item.from < last.to || (isNarrow && canTake(last, item, end, { least, most })))) {
      last.items.push(item);
      last.to = Math.max(last.to, end);
      last.width = Math.max(last.to - last.from, least);
    } else {
      drawn.push({ items: [item], from: item.from, to: end, width: Math.max(end - item.from, least), isNarrow });
    }
  }
  return drawn;
}

function canTake(shape, item, end, { least, most }) {
  return shape.isNarrow && item.from < shape.from + shape.width + least / 2 && end - shape.from < most;
}

/** Return round times between two times, no more than `count`, and the step between them. */
export function ticks(from, to, count) {
  const step = STEPS.find((each) => each * count >= to - from) ?? 2 ** Math.ceil(Math.log2((to - from) / count));
  const first = Math.ceil(from / step);
  const times = Array.from({ length: Math.max(Math.floor(to / step) - first + 1, 0) }, (_, index) => (first + index) * step);
  return { times, step };
}

/** Return the label of a time on the axis, as exact as the step between two labels needs. */
export function tickLabel(time, step) {
  if (time === 0) return "0";
  if (step < 1) return `${time.toFixed(1)} ms`;
  if (time < SECOND) return `${time} ms`;
  const decimals = step < 10 ? 3 : step < 100 ? 2 : step < SECOND ? 1 : 0;
  if (time < MINUTE) return `${(time / SECOND).toFixed(decimals)} s`;
  const [minutes, seconds] = [Math.floor(time / MINUTE), (time % MINUTE) / SECOND];
  return `${minutes}:${seconds.toFixed(decimals).padStart(decimals === 0 ? 2 : decimals + 3, "0")} min`;
}
