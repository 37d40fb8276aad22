// Reads a stream with a library: `node stream.mjs <library> <url> [<body>]`; with a body it sends a POST.
// Writes each message that the application gets as a line of JSON, `[event, id, data]`, its data decoded,
// and `["closed", "", null]` when the library stops by itself.

import { fetchEventSource } from "@microsoft/fetch-event-source";
import { EventSource } from "eventsource";

const TYPES = ["message", "started", "token", "custom:x", "complete", "timeout"];
const [library, url, body] = process.argv.slice(2);
const request = body === undefined ? {} : { method: "POST", body };
const json = body === undefined ? {} : { "Content-Type": "application/json" };

function write(event, id, data) {
  console.log(JSON.stringify([event, id, JSON.parse(data)]));
}

const READERS = {
  eventsource() {
    const withBody = (input, init) => fetch(input, { ...init, ...request, headers: { ...init.headers, ...json } });
    const source = new EventSource(url, { fetch: withBody });
    const onMessage = ({ type, lastEventId, data }) => write(type, lastEventId, data);
    for (const type of TYPES) source.addEventListener(type, onMessage);
    if (body !== undefined) source.addEventListener("complete", () => source.close());
    source.addEventListener("error", () => {
      if (source.readyState === EventSource.CLOSED) write("closed", "", "null");
    });
  },

  async "fetch-event-source"() {
    // It is for browsers, and uses these whatever its options.
    globalThis.window = globalThis;
    globalThis.document = { addEventListener() {}, removeEventListener() {} };
    await fetchEventSource(url, {
      ...request,
      headers: json,
      openWhenHidden: true,
      onmessage: ({ event, id, data }) => write(event, id, data),
      onerror: (error) => {
        if (error instanceof SyntaxError) throw error; // from `write`
      },
    });
    write("closed", "", "null");
  },
};

await READERS[library]();
