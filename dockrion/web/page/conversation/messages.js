// Conversations as lists of messages, `{role, content}`, and LangChain's own, `{type, content}`.

import { kindOf } from "../request/schema.js";

const ROLES = { user: ["user", "human"], assistant: ["assistant", "ai", "model"] };
const TEXTS = ["text", "answer", "output", "content"]; // the fields that an output may have its text in

/**
 * Return how the `messages` of a schema are written, null if they are not what a person can write.
 *
 * `user` and `assistant` are the roles; `isBlocks` tells whether content must be a list of blocks.
 */
export function messageFormat(schema) {
  const list = resolved(resolved(schema, schema).properties?.messages, schema);
  if (list.prefixItems !== undefined || list.items === undefined) return null;
  const item = resolved(list.items, schema);
  for (const each of [item, ...(item.anyOf ?? item.oneOf ?? [])]) {
    const { properties, required = [] } = resolved(each, schema);
    if (properties?.role === undefined || properties.content === undefined) continue;
    const roles = resolved(properties.role, schema).enum;
    const [user, assistant] = [roleIn(roles, ROLES.user), roleIn(roles, ROLES.assistant)];
    const isComplete = required.every((name) => name === "role" || name === "content" || properties[name]?.default !== undefined);
    if (isComplete && user !== undefined) {
      return { user, assistant: assistant ?? ROLES.assistant[0], isBlocks: kindOf(properties.content, schema).kind === "array" };
    }
  }
  return null;
}

/** Return the messages of a request body, null if it has none. */
export function messagesOf(input) {
  const messages = input?.messages;
  return Array.isArray(messages) && messages.length > 0 && messages.every(isMessage) ? messages : null;
}

export function isFromUser(message) {
  return ROLES.user.includes(roleOf(message));
}

/** Return who says a message: "user", "assistant", or another role. */
export function roleOf({ role, type }) {
  const given = String(role ?? type ?? "");
  return Object.keys(ROLES).find((name) => ROLES[name].includes(given)) ?? given;
}

/** Return the index of the last message of the user, or that after the last message. */
export function lastQuestion(messages) {
  const index = messages.findLastIndex(isFromUser);
  return index === -1 ? messages.length : index;
}

/** Return content as text; blocks that are none are shown as JSON. */
export function contentText(content) {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return content === null || content === undefined ? "" : JSON.stringify(content);
  return content.map((block) => (typeof block === "string" ? block : (textOf(block) ?? JSON.stringify(block)))).join("\n");
}

/** Return the text that an output is or has, null if there is none. */
export function outputText(output) {
  if (typeof output === "string") return output;
  if (typeof output !== "object" || output === null) return null;
  const messages = messagesOf(output);
  if (messages !== null) return roleOf(messages.at(-1)) === "assistant" ? contentText(messages.at(-1).content) : null;
  const name = TEXTS.find((each) => typeof output[each] === "string");
  return name === undefined ? null : output[name];
}

function textOf(block) {
  return typeof block?.text === "string" ? block.text : undefined;
}

function isMessage(value) {
  return typeof value === "object" && value !== null && "content" in value && ("role" in value || "type" in value);
}

function roleIn(allowed, names) {
  return allowed === undefined ? names[0] : names.find((name) => allowed.includes(name));
}

function resolved(schema, root) {
  return schema === undefined || schema === null ? {} : kindOf(schema, root).schema;
}
