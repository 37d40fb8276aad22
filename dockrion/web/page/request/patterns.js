// The menu of ways to run the agent, whose choice this browser remembers.

import { byId } from "../dom.js";

const STORAGE_KEY = "dockrion.pattern";
const GAP = 6; // pixels between the menu and its button
const menu = byId("patterns");
const opener = byId("pattern");
const radios = [...menu.querySelectorAll("input")];

/** Offer the patterns for whose endpoint `isOffered` returns true; there is no menu for a single one. */
export function offer(isOffered) {
  const offered = radios.filter((radio) => isOffered(radio.dataset.endpoint));
  for (const radio of radios) radio.closest("label").hidden = !offered.includes(radio);
  const remembered = localStorage.getItem(STORAGE_KEY);
  const radio = offered.find(({ value }) => value === remembered) ?? offered[0];
  if (radio) radio.checked = true;
  opener.hidden = offered.length < 2;
  byId("send").hidden = offered.length === 0;
  show();
}

/** Return the chosen pattern: "stream", "start" or "invoke". */
export function chosen() {
  return radios.find(({ checked }) => checked).value;
}

function show() {
  byId("pattern-name").textContent = radios.find(({ checked }) => checked)?.nextElementSibling.textContent ?? "";
}

menu.addEventListener("change", () => {
  localStorage.setItem(STORAGE_KEY, chosen());
  show();
});

menu.addEventListener("click", ({ target, detail }) => {
  if (detail > 0 && target.matches("input")) menu.hidePopover(); // arrow keys click too, with no detail
});

menu.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.ctrlKey || event.metaKey) return;
  event.preventDefault(); // it chooses, and sends nothing
  menu.hidePopover();
});

menu.addEventListener("beforetoggle", ({ newState }) => {
  if (newState !== "open") return;
  const { bottom, left } = opener.getBoundingClientRect();
  menu.style.setProperty("top", `${bottom + GAP}px`);
  menu.style.setProperty("left", `${left}px`);
});

menu.addEventListener("toggle", ({ newState }) => {
  if (newState !== "open") return;
  const { bottom, right } = menu.getBoundingClientRect();
  const { top } = opener.getBoundingClientRect();
  if (bottom > window.innerHeight) menu.style.setProperty("top", `${Math.max(0, top - GAP - menu.offsetHeight)}px`);
  if (right > window.innerWidth) menu.style.setProperty("left", `${Math.max(0, window.innerWidth - menu.offsetWidth - GAP)}px`);
  radios.find(({ checked }) => checked).focus();
});

window.addEventListener("scroll", () => menu.hidePopover(), { passive: true }); // it does not move with its button
