// The keyboard, the wheel and the pointer on a chart.

const ZOOM = 1.5;
const WHEEL = 0.002; // per pixel
const PAN = 0.25; // of what is seen
const DRAG = 6; // pixels, from which a press is no click

/** Connect a chart: `select(shape)` gets what is chosen, `draw()` draws at once. */
export function navigate(chart, view, { select, draw }) {
  const { element } = chart;
  element.addEventListener("keydown", (event) => press(event, chart, view, { select, draw }));
  element.addEventListener("wheel", (event) => turn(event, chart, view), { passive: false });
  element.addEventListener("click", ({ target }) => {
    const shape = chart.shapeOf(target.closest("[role=gridcell]"));
    if (shape === null) return;
    chart.activate(shape);
    select(shape);
  });
  dragging(chart, view);
}

function press(event, chart, view, { select, draw }) {
  const keys = {
    "+": () => view.zoom(1 / ZOOM, around(chart, view)),
    "=": () => view.zoom(1 / ZOOM, around(chart, view)),
    "-": () => view.zoom(ZOOM, around(chart, view)),
    "0": () => view.showAll(),
    "Enter": () => chart.active && select(chart.active),
    " ": () => chart.active && select(chart.active),
    "ArrowLeft": () => (event.shiftKey ? view.move(-PAN) : along(chart, -1)),
    "ArrowRight": () => (event.shiftKey ? view.move(PAN) : along(chart, 1)),
    "ArrowUp": () => across(chart, draw, -1),
    "ArrowDown": () => across(chart, draw, 1),
    "Home": () => end(chart, 0),
    "End": () => end(chart, -1),
  };
  if (event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(keys, event.key)) return;
  event.preventDefault();
  keys[event.key]();
}

/** Return the time that stays where it is: the middle of what the keyboard is at, if it is in sight. */
function around({ activeTime }, view) {
  return activeTime !== null && activeTime >= view.from && activeTime <= view.to ? activeTime : undefined;
}

/** Move within the row. */
function along(chart, by) {
  const rows = chart.drawn;
  const row = rows.find((each) => each.includes(chart.active));
  const shape = row === undefined ? rows[0]?.[0] : row[row.indexOf(chart.active) + by];
  if (shape !== undefined) chart.activate(shape);
}

/** Move to what is nearest in the next row that has something in sight. */
function across(chart, draw, by) {
  const at = chart.active;
  if (at === null) {
    along(chart, 1);
    return;
  }
  const row = at.element.closest("[role=row]");
  let next = by > 0 ? row.nextElementSibling : row.previousElementSibling;
  while (next !== null) {
    next.scrollIntoView({ block: "nearest" });
    draw(); // rows out of sight have no elements
    const shapes = chart.drawn.find(([first]) => next.contains(first.element));
    if (shapes !== undefined) {
      const distance = ({ from, to }) => Math.max(from - at.from, at.from - to, 0);
      chart.activate(shapes.reduce((best, shape) => (distance(shape) < distance(best) ? shape : best)));
      return;
    }
    next = by > 0 ? next.nextElementSibling : next.previousElementSibling;
  }
}

/** Move to the first or the last in the row. */
function end(chart, index) {
  const row = chart.drawn.find((each) => each.includes(chart.active)) ?? chart.drawn[0];
  if (row !== undefined) chart.activate(row.at(index));
}

function turn(event, chart, view) {
  const { deltaX, deltaY, ctrlKey, metaKey, clientX } = event;
  if (ctrlKey || metaKey) {
    view.zoom(Math.exp(deltaY * WHEEL), view.from + chart.partAt(clientX) * (view.to - view.from));
  } else if (Math.abs(deltaX) > Math.abs(deltaY) && !view.isWhole) {
    view.move(deltaX / chart.width);
  } else {
    return; // it scrolls
  }
  event.preventDefault();
}

/** Show the range that the pointer is dragged over. */
function dragging(chart, view) {
  const { element } = chart;
  let start = null;
  let isDragging = false;
  const range = ({ clientX }) => [start, chart.partAt(clientX)].sort((one, other) => one - other);
  const stop = () => {
    start = null;
    isDragging = false;
    chart.showRange(null);
  };
  element.addEventListener("pointerdown", (event) => {
    if (event.button === 0 && event.target.closest(".track, .axis")) start = chart.partAt(event.clientX);
  });
  element.addEventListener("pointermove", (event) => {
    if (start === null) return;
    const [from, to] = range(event);
    if (!isDragging && (to - from) * chart.width < DRAG) return;
    if (!isDragging) element.setPointerCapture(event.pointerId); // so that a click is not on what it began at
    isDragging = true;
    chart.showRange([from, to]);
  });
  element.addEventListener("pointerup", (event) => {
    const [from, to] = range(event);
    const length = view.to - view.from;
    if (isDragging) view.show(view.from + from * length, view.from + to * length);
    stop();
  });
  element.addEventListener("pointercancel", stop);
}
