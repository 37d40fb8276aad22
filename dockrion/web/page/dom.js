// DOM helpers. What comes from the service is only ever inserted as text.

const MAX_TEXT = 100_000; // characters
const COPIED = 2_000; // milliseconds for which a button says what it did

export function byId(id) {
  return document.getElementById(id);
}

/** Make an element with properties and children; children that are strings are text. */
export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** Return a value as readable text: strings unchanged, anything else as JSON. */
export function displayText(value) {
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  return text.length <= MAX_TEXT ? text : `${text.slice(0, MAX_TEXT)}\n… ${text.length - MAX_TEXT} more characters`;
}

const NUMBER = new Intl.NumberFormat(); // a hundred times as fast as toLocaleString

/** Return a number with its thousands separated. */
export function number(value) {
  return NUMBER.format(value);
}

export function duration(milliseconds) {
  if (milliseconds < 1000) return `${milliseconds.toFixed(0)} ms`;
  return `${(milliseconds / 1000).toFixed(milliseconds < 10_000 ? 2 : 1)} s`;
}

/** Copy a text, and return whether that worked. A page that did not come by HTTPS has no clipboard but the command. */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const put = (event) => {
      event.preventDefault();
      event.clipboardData.setData("text/plain", text);
    };
    document.addEventListener("copy", put);
    const isCopied = document.execCommand("copy");
    document.removeEventListener("copy", put);
    return isCopied;
  }
}

/** Make a button that copies a text, or selects the element that shows it where the clipboard may not be used. */
export function copyButton(text, element, label = "Copy") {
  const button = make("button", { type: "button", className: "copy quiet", ariaLabel: label });
  button.addEventListener("click", async () => {
    const isCopied = await copyText(text());
    if (!isCopied) getSelection().selectAllChildren(element);
    button.ariaLabel = isCopied ? "Copied" : "Selected: press Ctrl-C";
    byId("announcement").textContent = button.ariaLabel;
    setTimeout(() => (button.ariaLabel = label), COPIED);
  });
  return button;
}

/** Change a scrolling element; if it is scrolled to its end, keep it there. */
export function keepAtEnd(element, change) {
  const wasAtEnd = element.scrollHeight - element.scrollTop - element.clientHeight < 40;
  change();
  if (wasAtEnd) element.scrollTop = element.scrollHeight;
}
