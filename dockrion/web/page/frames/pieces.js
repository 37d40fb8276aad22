// Long text, drawn in pieces.

import { make } from "../dom.js";

const SLICE = 8; // milliseconds of drawing in one animation frame
const LINE_HEIGHT = 20; // pixels, about, of text that is not drawn yet
const LINE_LENGTH = 90; // characters, about

/** Append the pieces of a text to an element, as many in each animation frame as time allows. Return how to stop. */
export function drawPieces(element, pieces) {
  let request;
  const step = () => {
    const until = performance.now() + SLICE;
    do {
      const { value, done } = pieces.next();
      if (done) return;
      element.append(drawn(value));
    } while (performance.now() < until);
    request = requestAnimationFrame(step);
  };
  step();
  return () => cancelAnimationFrame(request);
}

/** Return a block that costs no layout while it is out of sight. */
function drawn(piece) {
  const block = make("span", { className: "piece", textContent: piece });
  const lines = Math.max(piece.split("\n").length - 1, Math.ceil(piece.length / LINE_LENGTH));
  block.style.containIntrinsicBlockSize = `auto ${lines * LINE_HEIGHT}px`;
  return block;
}
