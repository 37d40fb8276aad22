// The equivalent curl command.

import { address, credential } from "../api.js";

/** Return the shell command for a request. It reads the key from a variable. */
export function curl(method, path, { body, streams = false } = {}) {
  const words = ["curl --fail-with-body"];
  if (streams) words.push("-N");
  if (method === "DELETE") words.push("-X DELETE");
  words.push(quoted(address(path)));
  const sent = credential();
  if (sent !== null) words.push(`-H ${quoted(`${sent.header}: ${sent.scheme}`)}"$DOCKRION_KEY"`);
  if (body !== undefined) words.push(`--json ${quoted(onOneLine(body))}`);
  return words.join(" ");
}

/** Quote for a POSIX shell (2.2.2, "Single-Quotes"). */
function quoted(text) {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** Remove line breaks from JSON, whose strings contain none. */
function onOneLine(json) {
  return json.trim().replace(/\s*\n\s*/g, " ");
}
