// Chats with a service as a page does, with the Vercel AI SDK: one line of JSON for each command, one for its answer.
// A command names a function of COMMANDS; an error that it throws is the answer's `thrown`.

import {
  AbstractChat,
  DefaultChatTransport,
  parseJsonEventStream,
  readUIMessageStream,
  uiMessageChunkSchema,
} from "ai";
import { createInterface } from "node:readline";

const chats = new Map();

// What useChat keeps in React's state.
class State {
  status = "ready";
  error = undefined;
  messages;
  changed = () => {};

  constructor(messages) {
    this.messages = messages;
  }
  pushMessage(message) {
    this.messages = [...this.messages, this.snapshot(message)];
    this.changed();
  }
  popMessage() {
    this.messages = this.messages.slice(0, -1);
  }
  replaceMessage(index, message) {
    this.messages = this.messages.with(index, this.snapshot(message));
    this.changed();
  }
  snapshot(value) {
    return structuredClone(value);
  }
}

class Chat extends AbstractChat {
  constructor({ messages = [], ...init }) {
    super({ ...init, state: new State(messages) });
  }
  textShown(text) {
    const shown = () => JSON.stringify(this.lastMessage ?? "").includes(text);
    return new Promise((resolve) => {
      this.state.changed = () => shown() && resolve();
      this.state.changed();
    });
  }
}

function seen({ chat, finishes, data }) {
  const { status, error, messages } = chat;
  return { status, error: error?.message, messages, finishes, data };
}

// Reads a stream as the SDK does, and returns the message with whatever went wrong.
async function read(stream) {
  const results = [];
  const chunks = parseJsonEventStream({ stream, schema: uiMessageChunkSchema }).pipeThrough(
    new TransformStream({
      transform(result, controller) {
        results.push(result.success ? result.value.type : String(result.error));
        if (result.success) controller.enqueue(result.value);
      },
    }),
  );
  const errors = [];
  let message = null;
  for await (message of readUIMessageStream({ stream: chunks, onError: (error) => errors.push(error.message) }));
  return { message, errors, results };
}

const COMMANDS = {
  // Opens a chat, as a page that is loaded with some messages.
  open({ name, id, api, headers, messages }) {
    const opened = { finishes: [], data: [], sending: Promise.resolve() };
    opened.chat = new Chat({
      id,
      messages,
      transport: new DefaultChatTransport({ api, headers }),
      onFinish: ({ isAbort, isDisconnect, isError, finishReason }) =>
        opened.finishes.push({ isAbort, isDisconnect, isError, finishReason }),
      onData: ({ type }) => opened.data.push(type),
      onToolCall: () => opened.data.push("the client was asked to run a tool"),
    });
    chats.set(name, opened);
  },
  // Sends a message, and waits for the reply, or until a text is shown.
  async send({ name, message, options, until }) {
    const opened = chats.get(name);
    opened.sending = opened.chat.sendMessage(message, options);
    await (until === undefined ? opened.sending : opened.chat.textShown(until));
    return seen(opened);
  },
  async regenerate({ name }) {
    const opened = chats.get(name);
    await opened.chat.regenerate();
    return seen(opened);
  },
  async resume({ name, until }) {
    const opened = chats.get(name);
    opened.sending = opened.chat.resumeStream();
    await (until === undefined ? opened.sending : opened.chat.textShown(until));
    return seen(opened);
  },
  async stop({ name }) {
    const opened = chats.get(name);
    await opened.chat.stop();
    return seen(opened);
  },
  async finish({ name }) {
    const opened = chats.get(name);
    await opened.sending;
    return seen(opened);
  },
  // Reads one reply without a chat.
  async read({ api, body }) {
    const headers = { "Content-Type": "application/json" };
    const response = await fetch(api, { method: "POST", headers, body: JSON.stringify(body) });
    return { ...(await read(response.body)), header: response.headers.get("x-vercel-ai-ui-message-stream") };
  },
  async check({ frames }) {
    return await read(new Response(frames).body);
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...options } = JSON.parse(line);
  let answer;
  try {
    answer = (await COMMANDS[command](options)) ?? {};
  } catch (error) {
    answer = { thrown: String(error) };
  }
  console.log(JSON.stringify(answer));
}
