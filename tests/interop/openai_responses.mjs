// Responses of a service, as OpenAI's SDK for JavaScript gets them.

const ask = (question, options = {}) => ({ model: "any", input: question, ...options });

async function streamed(stream) {
  const got = { text: "", reasoning: "", numbers: [], last: null, status: null, reason: null, error: null };
  for await (const event of stream) {
    if (event.type === "response.output_text.delta") got.text += event.delta;
    if (event.type === "response.reasoning_summary_text.delta") got.reasoning += event.delta;
    got.numbers.push(event.sequence_number);
    got.last = event.type;
    got.status = event.response?.status ?? null;
    got.reason = event.response?.incomplete_details?.reason ?? null;
    got.error = event.response?.error?.code ?? null;
  }
  const count = got.numbers.length;
  return { ...got, numbers: got.numbers.every((number, index) => number === index) ? count : got.numbers };
}

async function resumed(client) {
  const stream = await client.responses.create(ask("forecast", { stream: true, background: true }));
  const events = [];
  for await (const event of stream) {
    events.push(event);
    if (event.type === "response.output_text.delta") break; // which closes the connection
  }
  const { id } = events[0].response;
  const starting_after = events.at(-1).sequence_number;
  for await (const event of await client.responses.retrieve(id, { stream: true, starting_after })) {
    events.push(event);
  }
  return {
    inOrder: events.every((event, index) => event.sequence_number === index),
    text: events.at(-1).response.output_text ?? (await client.responses.retrieve(id)).output_text,
    fromTheHelper: (await client.responses.stream({ response_id: id }).finalResponse()).output_text,
  };
}

async function cancelled(client) {
  const { id } = await client.responses.create(ask("wait", { background: true }));
  return (await client.responses.cancel(id)).status;
}

export async function responses(client, refused) {
  const whole = await client.responses.create(ask("forecast"));
  const violated = await client.responses.create(ask("leak", { stream: true }));
  return {
    whole: { text: whole.output_text, types: whole.output.map((item) => item.type), usage: whole.usage.total_tokens },
    streamed: await streamed(await client.responses.create(ask("forecast", { stream: true }))),
    accumulated: (await client.responses.stream(ask("forecast")).finalResponse()).output_text,
    failed: await streamed(await client.responses.create(ask("fail", { stream: true }), { maxRetries: 2 })),
    violated: await streamed(violated),
    resumed: await resumed(client),
    cancelled: await cancelled(client),
    invalid: await refused(() => client.responses.create(ask("forecast", { previous_response_id: "resp_1" }))),
    unknown: await refused(() => client.responses.retrieve("resp_none")),
  };
}
