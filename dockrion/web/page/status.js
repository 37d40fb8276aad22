// The state of the run: in its heading, in the title of the window, and as the window's icon.

import { byId } from "./dom.js";

const SIGNS = { // a color, and a path in 32 × 32
  working: ["#175cd3", "M10 16h.01M16 16h.01M22 16h.01"],
  waiting: ["#a65f00", "M11.5 12.5a4.5 4.5 0 1 1 6.5 4c-1.4.8-2 1.5-2 3M16 24h.01"],
  completed: ["#17803f", "M9 17l5 5 9-11"],
  failed: ["#c62828", "M10.5 10.5l11 11M21.5 10.5l-11 11"],
  cancelled: ["#6b7280", "M12 12h8v8h-8z"],
};
const icon = document.querySelector("link[rel=icon]");
const ownIcon = icon.href;

let agent = document.title;

/** Set the name of the agent. */
export function name(text) {
  agent = text;
  showTitle();
}

/** Show the state: its kind (working, waiting, completed, failed, cancelled, or "" for no run) and its text. */
export function show(kind, text) {
  byId("status").className = kind;
  byId("status").textContent = text;
  icon.href = kind === "" ? ownIcon : drawn(...SIGNS[kind]);
  showTitle();
}

function showTitle() {
  const { className, textContent } = byId("status");
  document.title = className === "" ? agent : `${textContent} · ${agent}`;
}

function drawn(color, path) {
  const sign = `<path d="${path}" fill="none" stroke="#fff" stroke-width="3.5" stroke-linecap="round" stroke-linejoin="round"/>`;
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="8" fill="${color}"/>${sign}</svg>`;
  return `data:image/svg+xml,${encodeURIComponent(svg)}`;
}
