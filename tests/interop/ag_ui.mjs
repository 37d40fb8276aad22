// Carries out commands, one line of JSON each, with AG-UI's HttpAgent; writes one line of JSON for each.
import { createInterface } from "node:readline";
import { HttpAgent } from "@ag-ui/client";
import { HttpAgent as HttpAgentBefore1 } from "@ag-ui/client-before-1";

const agents = new Map();
let reported = []; // what the client finds wrong with a stream, or with an event
for (const level of ["warn", "error"]) {
  console[level] = (...words) => reported.push(words.map(String).join(" "));
}

// Passes on so many frames of a response, then cuts the connection.
function cutAfter(frames, cut) {
  return async (url, init) => {
    const connection = new AbortController();
    const response = await fetch(url, { ...init, signal: connection.signal });
    const reader = response.body.getReader();
    let text = "";
    while (text.split("\n\n").length <= frames) {
      const { done, value } = await reader.read();
      if (done) break;
      text += new TextDecoder().decode(value);
    }
    connection.abort();
    const passed = text.split("\n\n").slice(0, frames);
    cut.lastEventId = passed.at(-1).match(/^id: (.*)$/m)[1];
    return new Response(passed.map((frame) => frame + "\n\n").join(""), response);
  };
}

async function run(agent, { abortOn, ...parameters }) {
  const events = [];
  const seen = { events };
  const subscriber = {
    onEvent({ event }) {
      events.push(event);
      if (event.type === abortOn) agent.abortRun();
    },
    onRunFailed({ error }) {
      seen.failure = { message: error.message, status: error.status, payload: error.payload };
    },
  };
  try {
    const { result, newMessages } = await agent.runAgent(parameters, subscriber);
    Object.assign(seen, { result, newMessages });
  } catch (error) {
    seen.rejected = error.message;
  }
  const { messages, state, pendingInterrupts } = agent;
  return { ...seen, messages, state, pendingInterrupts };
}

const commands = {
  open({ name, before1, ...options }) {
    agents.set(name, before1 ? new HttpAgentBefore1(options) : new HttpAgent(options));
  },
  async run({ name, message, messages, cut, ...parameters }) {
    const agent = agents.get(name);
    agent.addMessages(messages ?? (message ? [{ id: crypto.randomUUID(), role: "user", content: message }] : []));
    if (cut === undefined) return run(agent, parameters);
    const where = {};
    const { fetch: whole } = agent;
    agent.fetch = cutAfter(cut, where);
    const seen = await run(agent, parameters);
    agent.fetch = whole;
    return { ...seen, ...where };
  },
  async resume({ name, url, lastEventId }) {
    const agent = agents.get(name);
    const { fetch: whole } = agent;
    agent.fetch = (_, { signal }) => fetch(url, { signal, headers: { "Last-Event-ID": lastEventId } });
    const seen = await run(agent, {});
    agent.fetch = whole;
    return seen;
  },
  // Reads stored streams.
  async replay({ streams, before1 }) {
    const Agent = before1 ? HttpAgentBefore1 : HttpAgent;
    const outcomes = [];
    for (const stream of streams) {
      const headers = { "Content-Type": "text/event-stream" };
      const agent = new Agent({ url: "http://unused", fetch: async () => new Response(stream, { headers }) });
      const { rejected } = await run(agent, {});
      outcomes.push(rejected ?? null);
    }
    return { outcomes };
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...options } = JSON.parse(line);
  reported = [];
  let answer;
  try {
    answer = (await commands[command](options)) ?? {};
  } catch (error) {
    answer = { thrown: String(error) };
  }
  console.log(JSON.stringify({ ...answer, reported }));
}
