// Programs that repeat a request: in curl, in Python, and in JavaScript. They read the key from a variable.

import { address, credential } from "../api.js";

const CALL = /^(invoke\/stream|invoke|runs)?(?:runs\/([^/?]+)(?:\/(events|input))?)?(?:\?(.*))?$/;
const JSON_TOKEN = /"(?:[^"\\]|\\.)*"|true|false|null/g;
const HIDDEN = /[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g; // would make code look like other code
const INEXACT = /(?<![\d."])-?\d{16,}/; // in JavaScript
const PYTHON = { true: "True", false: "False", null: "None" };
const MAX_LINE = 90; // characters

/**
 * Return the programs for a request, `{curl, python, javascript}`.
 *
 * `streams` is whether events follow: in the response, or for `POST runs` those of the run.
 */
export function snippets({ method, path, body, streams = false }) {
  const [, action, runId, part, query] = CALL.exec(path);
  const call = {
    method, path, body, streams, runId,
    action: action ?? { DELETE: "cancel", GET: "events", POST: part }[method],
    query: new URLSearchParams(query),
    sent: credential(),
  };
  return { curl: curl(call), python: python(call), javascript: javascript(call) };
}

function curl({ method, path, body, streams, sent }) {
  const words = ["curl --fail-with-body"];
  if (streams && path !== "runs") words.push("-N");
  if (method === "DELETE") words.push("-X DELETE");
  words.push(quoted(address(path)));
  if (sent !== null) words.push(`-H ${quoted(`${sent.header}: ${sent.scheme}`)}"$DOCKRION_KEY"`);
  if (body !== undefined) words.push(`--json ${quoted(onOneLine(visible(body)))}`);
  return words.join(" ");
}

const PYTHON_CALLS = {
  "invoke/stream": ({ query }) => pythonEvents(`client.stream(payload${query.has("on_disconnect") ? "" : ", resume=False"})`),
  runs: ({ streams }) => ["run = await client.start(payload)", "print(run.run_id)", ...(streams ? pythonEvents("client.events(run.run_id)") : [])],
  invoke: () => ["result = await client.invoke(payload)", "print(result.output)"],
  events: ({ runId }) => pythonEvents(`client.events("${runId}")`),
  cancel: ({ runId, query }) => [`await client.cancel("${runId}", reason=${JSON.stringify(query.get("reason"))})`],
  input: ({ runId }) => [`await client.respond("${runId}", **payload)`],
};

function python({ body, action, sent, ...call }) {
  const events = action === "invoke/stream" || action === "events" || (action === "runs" && call.streams);
  const lines = [
    "import asyncio",
    ...(sent === null ? [] : ["import os"]),
    "",
    `from dockrion.client import Client${events ? ", Complete, Error, Token" : ""}`,
    "",
    ...(body === undefined ? [] : [`payload = ${pythonLiteral(body)}`, ""]),
    "",
    "async def main() -> None:",
    `    async with Client(${[JSON.stringify(service()), ...pythonKey(sent)].join(", ")}) as client:`,
    ...PYTHON_CALLS[action](call).map((line) => `        ${line}`),
    "",
    "",
    "asyncio.run(main())",
  ];
  return lines.join("\n");
}

function pythonKey(sent) {
  if (sent === null) return [];
  const key = "os.environ[\"DOCKRION_KEY\"]";
  if (sent.header === "X-API-Key") return [`api_key=${key}`];
  return [sent.scheme === "" ? `headers={${JSON.stringify(sent.header)}: ${key}}` : `token=${key}`];
}

function pythonEvents(stream) {
  return [
    `async for event in ${stream}:`,
    "    match event:",
    "        case Token(content=content):",
    "            print(content, end=\"\", flush=True)",
    "        case Complete(output=output):",
    "            print(\"\\noutput:\", output)",
    "        case Error(error=error):",
    "            print(\"\\nerror:\", error)",
  ];
}

function javascript({ method, path, body, action, streams, sent }) {
  const isStarted = action === "runs" && streams;
  const headers = { body: ["\"Content-Type\": \"application/json\""], events: ["Accept: \"application/x-ndjson\""] };
  const key = sent === null ? [] : [`${JSON.stringify(sent.header)}: ${javascriptKey(sent)}`];
  const first = [...(body === undefined ? [] : headers.body), ...(streams && !isStarted ? headers.events : []), ...key];
  const options = [
    ...(method === "GET" ? [] : [`  method: "${method}",`]),
    ...(first.length === 0 ? [] : [`  headers: { ${first.join(", ")} },`]),
    ...(body === undefined ? [] : [`  body: ${javascriptBody(body)},`]),
  ];
  const request = (name, url, lines) => [`const ${name} = await fetch(${url}, {`, ...lines, "});", `if (!${name}.ok) throw new Error(await ${name}.text());`];
  const url = JSON.stringify(`${service()}/${path}`);
  if (isStarted) {
    return [
      ...request("started", url, options),
      "const run = await started.json();",
      "console.log(run.run_id);",
      "",
      ...request("response", `\`${service()}/runs/\${run.run_id}/events\``, [`  headers: { ${[...headers.events, ...key].join(", ")} },`]),
      ...EVENTS,
    ].join("\n");
  }
  const rest = streams ? EVENTS : ["console.log(JSON.stringify(await response.json(), null, 2));"];
  return [...request("response", url, options), ...rest].join("\n");
}

const EVENTS = `
let rest = "";
for await (const part of response.body.pipeThrough(new TextDecoderStream())) {
  const lines = (rest + part).split("\\n");
  rest = lines.pop();
  for (const event of lines.map((line) => JSON.parse(line))) {
    if (event.type === "token") process.stdout.write(event.content);
    if (event.type === "complete") console.log("\\noutput:", JSON.stringify(event.output));
    if (event.type === "error") console.log("\\nerror:", event.error);
  }
}`.split("\n");

function javascriptKey({ scheme }) {
  return scheme === "" ? "process.env.DOCKRION_KEY" : `\`${scheme}\${process.env.DOCKRION_KEY}\``;
}

/** Return the body as an expression: a literal, unless JavaScript would change it. */
function javascriptBody(body) {
  if (INEXACT.test(body) || body.includes("__proto__")) return JSON.stringify(visible(onOneLine(body)));
  return `JSON.stringify(${indented(visible(body), "  ")})`;
}

/** Return JSON as a Python literal: it differs in three names, and in how it escapes. */
function pythonLiteral(body) {
  return indented(visible(body).replace(JSON_TOKEN, (token) => PYTHON[token] ?? visible(JSON.stringify(JSON.parse(token)))), "");
}

/** Return JSON on one line if it is short, else as it is, moved to the right. */
function indented(body, by) {
  const line = onOneLine(body);
  return line.length <= MAX_LINE ? line : body.trim().replaceAll("\n", `\n${by}`);
}

/** Escape characters in JSON that are not shown. */
function visible(body) {
  return body.replace(HIDDEN, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** Remove line breaks from JSON, whose strings contain none. */
function onOneLine(body) {
  return body.trim().replace(/\s*\n\s*/g, " ");
}

function service() {
  return address(".").replace(/\/$/, "");
}

/** Quote for a POSIX shell (2.2.2, "Single-Quotes"). */
function quoted(text) {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
