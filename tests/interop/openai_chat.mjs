// Talks to a service with OpenAI's SDK for JavaScript, and writes what it got as JSON.
// Usage: node openai_chat.mjs BASE_URL API_KEY API_KEY_OVER_ITS_RATE_LIMIT
import OpenAI from "openai";
import { responses } from "./openai_responses.mjs";

const [baseURL, apiKey, limitedKey] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const ask = (question) => ({ model: "any", messages: [{ role: "user", content: question }] });
const shown = (error) => ({ class: error.constructor.name, status: error.status, code: error.code });

async function streamed(question, options) {
  const got = { text: "", reasoning: "", finish: null, usage: null, error: null };
  try {
    const asked = { ...ask(question), stream: true, stream_options: { include_usage: true } };
    for await (const { choices, usage } of await client.chat.completions.create(asked, options)) {
      got.text += choices[0]?.delta.content ?? "";
      got.reasoning += choices[0]?.delta.reasoning_content ?? "";
      got.finish = choices[0]?.finish_reason ?? got.finish;
      got.usage = usage?.total_tokens ?? got.usage;
    }
  } catch (error) {
    got.error = shown(error);
  }
  return got;
}

async function accumulated(question) {
  const completion = await client.chat.completions.stream(ask(question)).finalChatCompletion();
  return completion.choices[0].message.content;
}

async function refused(call) {
  try {
    await call();
  } catch (error) {
    return shown(error);
  }
}

async function cancelled(question) {
  const stream = await client.chat.completions.create({ ...ask(question), stream: true });
  for await (const { choices } of stream) {
    if (choices[0].delta.content) break; // which closes the connection
  }
  return stream.controller.signal.aborted;
}

const whole = await client.chat.completions.create(ask("forecast"));
console.log(
  JSON.stringify({
    models: (await client.models.list()).data.map((model) => model.id),
    whole: whole.choices[0].message.content,
    streamed: await streamed("forecast"),
    accumulated: await accumulated("forecast"),
    failed: await streamed("fail"),
    failedWhole: await refused(() => client.chat.completions.create(ask("fail"), { maxRetries: 2 })),
    violated: await streamed("leak"),
    invalid: await refused(() => client.chat.completions.create({ ...ask("forecast"), n: 2 })),
    tooLarge: await refused(() => client.chat.completions.create(ask("x".repeat(5000)))),
    wrongKey: await refused(() => client.withOptions({ apiKey: "wrong" }).models.list()),
    limited: await refused(() => client.withOptions({ apiKey: limitedKey }).chat.completions.create(ask("forecast"))),
    cancelled: await cancelled("wait"),
    responses: await responses(client, refused),
  }),
);
