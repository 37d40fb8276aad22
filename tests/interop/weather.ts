// Calls the service of weather.py with types that were generated from its document; `openapi.d.ts` is
// written by the test. The lines after `@ts-expect-error` must be errors of the type checker.

import createClient from "openapi-fetch";
import type { components, paths } from "./openapi.d.ts";

declare const process: { argv: string[] };
type Schemas = components["schemas"];

const client = createClient<paths>({ baseUrl: process.argv[2]! });
const place: Schemas["Place"] = { name: "Graz", near: { name: "Wien" } };
const shown: unknown[] = [];

const invoked = await client.POST("/invoke", { body: { place, days: 2, unit: "celsius", exact: true } });
if (invoked.data === undefined) throw new Error(invoked.error.error);
const output: Schemas["AgentOutput"] = invoked.data.output;
const latency: number = invoked.data.metadata.latency_seconds;
shown.push(invoked.data.success, output.place.name, output.highs.map((high) => high + 1), output.errors[0]?.day, latency >= 0);

const failed = await client.POST("/invoke", { body: { place: { name: "Nowhere" } } });
if (failed.error === undefined) throw new Error("it did not fail");
shown.push(failed.response.status, failed.error.success, failed.error.code);

const accepted = await client.POST("/runs", { params: { query: { run_id: "r" } }, body: { place } });
const path = { run_id: accepted.data!.run_id };
const stream = await client.GET("/runs/{run_id}/events", { params: { path }, parseAs: "text" });
shown.push(String(stream.data).includes("event: complete"));

const run = await client.GET("/runs/{run_id}", { params: { path } });
const status: Schemas["RunStatus"] = run.data!.status;
shown.push(status, run.data!.output?.place.name, run.data!.error?.code);

const json = { Accept: "application/json" };
const polled = await client.GET("/runs/{run_id}/events", { params: { path }, headers: json });
for (const event of (polled.data as Schemas["Polled"]).events) {
  if (event.type === "token" && "content" in event) shown.push(event.content.toUpperCase());
  else if (event.type === "complete" && "output" in event) shown.push(event.output.place.name);
}

const asking = { run_id: (await client.POST("/runs", { body: { place: { name: "Somewhere" } } })).data!.run_id };
let question: Schemas["WaitingFor"] | null | undefined;
while (!question) question = (await client.GET("/runs/{run_id}", { params: { path: asking } })).data!.waiting_for;
const answer: Schemas["Answer"] = { request_id: question.request_id, value: 2 };
const answered = await client.POST("/runs/{run_id}/input", { params: { path: asking }, body: answer });
shown.push(question.prompt, question.expires_at !== "", answered.data!.status);
await client.GET("/runs/{run_id}/events", { params: { path: asking }, parseAs: "text" });
const asked = await client.GET("/runs/{run_id}/events", { params: { path: asking }, headers: json });
for (const event of (asked.data as Schemas["Polled"]).events) {
  if (event.type === "tool_call" && "arguments" in event) shown.push(event.name, event.source);
  else if (event.type === "usage" && "total_tokens" in event) shown.push(event.model, event.total_tokens);
}
console.log(JSON.stringify(shown));

export async function mistakes() {
  // @ts-expect-error: `place` is missing
  await client.POST("/invoke", { body: {} });
  // @ts-expect-error: no such unit
  await client.POST("/invoke", { body: { place, unit: "kelvin" } });
  // @ts-expect-error: no such field
  output.lows;
  // @ts-expect-error: no such status
  const other: Schemas["RunStatus"] = "lost";
  // @ts-expect-error: no such path
  await client.GET("/run");
  return other;
}
