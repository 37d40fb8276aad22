// The page: finds out what the service offers, and connects the page's parts.

import { HttpError, clearCredential, compareClocks, credential, onUnauthorized, requestJson } from "./api.js";
import * as actions from "./actions.js";
import * as conversation from "./conversation/conversation.js";
import { byId, copyButton, make } from "./dom.js";
import { watchReadiness } from "./readiness.js";
import * as form from "./request/form.js";
import * as patterns from "./request/patterns.js";
import * as compare from "./runs/compare.js";
import * as recent from "./runs/recent.js";
import * as status from "./status.js";
import { isTransient } from "./stream.js";
import * as tabs from "./tabs.js";

const RUN = /^#run=([A-Za-z0-9][A-Za-z0-9_-]{0,127})$/; // as dockrion/ids.py
const GUIDE = /^#guide=[a-z.\d-]+(?:#[\w-]+)?$/i;
const INVOCATION = /^#wait=(\d{1,9})$/;
const COMPARED = /^#compare=([A-Za-z0-9][A-Za-z0-9_-]{0,127}),([A-Za-z0-9][A-Za-z0-9_-]{0,127})$/;

const PROTOCOLS = { // the name, the path and the chapter of the guide of each
  openai: ["OpenAI", "v1", "openai"],
  "ag-ui": ["AG-UI", "ag-ui", "ag-ui"],
  "vercel-ai": ["Vercel AI SDK", "api/chat", "vercel-ai-sdk"],
  a2a: ["A2A", "a2a", "a2a"],
  mcp: ["MCP", "mcp", "mcp"],
};

const RETRY = 3000; // milliseconds until the page is started again

const requestForm = byId("request");
const signIn = byId("sign-in");
const keyButton = byId("key-button");

onUnauthorized((header, wasRejected) => new Promise((resolve, reject) => {
  byId("sign-in-header").textContent = `It is sent in the ${header} header.`;
  byId("sign-in-problem").textContent = wasRejected ? "This key or token is wrong, or has expired." : "";
  byId("key").value = "";
  signIn.returnValue = "";
  signIn.addEventListener("close", () => {
    if (signIn.returnValue === "enter") resolve(byId("key").value.trim());
    else reject(new HttpError(401, { error: "Sign in to use this agent.", code: "AUTH_ERROR" }));
    showKeyButton();
  }, { once: true });
  signIn.showModal();
}));

keyButton.addEventListener("click", () => {
  clearCredential();
  location.reload();
});

requestForm.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (conversation.isChat()) {
    conversation.sendMessage();
    return;
  }
  const body = form.body();
  if (body === null || requestForm.ariaBusy === "true") return;
  requestForm.ariaBusy = "true";
  try {
    await actions[patterns.chosen()](body);
  } catch (error) {
    form.showProblem(error.message, error.details);
  }
  requestForm.ariaBusy = "false";
});

conversation.connect(
  (body, turn) => actions[patterns.chosen()](body, turn),
  leave,
);

requestForm.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) requestForm.requestSubmit();
});

byId("schema-link").addEventListener("click", async (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return; // in a tab of its own
  event.preventDefault();
  const { input_schema: input, output_schema: output, error } = await requestJson("GET", "schema").catch((failure) => ({ error: failure }));
  if (error) {
    form.showProblem(`The schema cannot be shown: ${error.message}`);
    return;
  }
  byId("schema-input").textContent = input === null ? "Not declared: anything is accepted." : JSON.stringify(input, null, 2);
  byId("schema-output").textContent = output === null ? "Not declared." : JSON.stringify(output, null, 2);
  byId("schema").showModal();
});

for (const element of [byId("guide-link"), byId("protocols")]) {
  element.addEventListener("click", (event) => {
    const link = event.target.closest("a");
    if (link === null) return;
    event.preventDefault();
    openGuide(link.hash);
  });
}

async function openGuide(link) {
  const guide = await import("./guide/guide.js").catch(() => null); // for those who read it
  if (guide === null) form.showProblem("The guide cannot be loaded.");
  else await guide.open(link);
}

byId("skip").addEventListener("click", (event) => {
  event.preventDefault(); // the URL's fragment names the run that is shown
  byId("run").focus();
});

byId("stop").addEventListener("click", actions.cancel);
byId("stop").before(Object.assign(copyButton(() => location.href, byId("run-id"), "Copy link"), { id: "copy-link", hidden: true }));

byId("leave-comparison").addEventListener("click", leave);

window.addEventListener("popstate", showRunInUrl);

function showRunInUrl() {
  const runId = RUN.exec(location.hash)?.[1];
  const invocation = INVOCATION.exec(location.hash)?.[1];
  const compared = COMPARED.exec(location.hash);
  if (runId !== undefined) actions.watch(runId);
  else if (invocation !== undefined) actions.showInvocation(Number(invocation));
  else actions.reset();
  if (GUIDE.test(location.hash)) openGuide(location.hash);
  if (compared !== null) compare.show(compared[1], compared[2]);
}

function leave() {
  history.pushState(null, "", location.pathname);
  actions.reset();
}

function showKeyButton() {
  keyButton.hidden = false;
  keyButton.textContent = credential() === null ? "Sign in" : "Sign out";
}

let shownSchema; // as JSON, once there is a form

async function showForm() {
  const schema = await requestJson("GET", "schema").catch((error) => ({ error }));
  const known = JSON.stringify(schema);
  if (known !== shownSchema) form.show(conversation.configure(schema), conversation.isChat());
  shownSchema = known;
  if (schema.error) form.showProblem(`The form cannot be shown: ${schema.error.message}`);
}

async function refresh() {
  if (shownSchema === undefined) return; // `start` has yet to show it
  const info = await requestJson("GET", "info");
  if (offered(info) !== shownOffer) location.reload();
  showAgent(info);
  await showForm();
}

let shownOffer; // what the page was made for

function offered({ endpoints, auth_enabled }) {
  return JSON.stringify([endpoints, auth_enabled]);
}

function showAgent(info) {
  status.name(info.agent.name);
  byId("agent").textContent = info.agent.name;
  byId("description").textContent = info.agent.description ?? "";
}

/** Show whose clients the service is for, too. */
function showProtocols(names) {
  byId("protocols").hidden = names.length === 0;
  byId("protocols").firstElementChild.replaceChildren(...names.flatMap((key, index) => {
    const [name, path, chapter] = PROTOCOLS[key];
    const link = make("a", { href: `#guide=${chapter}` }, name);
    const address = make("code", {}, new URL(path, document.baseURI).href);
    return [index === 0 ? "" : ", ", link, " at ", address];
  }));
}

/** Start the page, again and again while the service cannot answer. */
function begin() {
  start().catch((error) => {
    form.showProblem(error.message);
    if (isTransient(error)) setTimeout(begin, RETRY);
  });
}

async function start() {
  const info = await requestJson("GET", "info");
  shownOffer = offered(info);
  showAgent(info);
  byId("version").textContent = info.version;
  showProtocols(info.protocols);
  if (info.auth_enabled) showKeyButton();
  actions.configure(info);
  byId("docs-link").hidden = !actions.offers("GET /docs");
  byId("schema-link").hidden = !actions.offers("GET /schema");
  await compareClocks();
  form.clearProblem();
  await showForm();
  patterns.offer(actions.offers); // before there is a form, there is nothing to send
  startRecent();
  showRunInUrl();
}

function startRecent() {
  const listed = actions.offers("GET /runs");
  if (!listed && !actions.offers("POST /invoke")) return;
  const show = (hash) => {
    if (location.hash !== hash) history.pushState(null, "", hash);
    showRunInUrl();
  };
  recent.start({
    listed,
    open: ({ key, recorded }) => show(recorded ? `#run=${key}` : `#${key}`),
    compare: (older, newer) => show(`#compare=${older},${newer}`),
  });
}

if (navigator.platform.startsWith("Mac")) byId("shortcut").textContent = "⌘ Enter";
tabs.connect(document.querySelector("[role=tablist]"));
watchReadiness(refresh);
begin();
