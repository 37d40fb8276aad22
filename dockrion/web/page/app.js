// The page: finds out what the service offers, and connects the page's parts.

import { HttpError, clearCredential, compareClocks, credential, onUnauthorized, requestJson } from "./api.js";
import * as actions from "./actions.js";
import * as conversation from "./conversation/conversation.js";
import { byId } from "./dom.js";
import * as form from "./request/form.js";
import * as recent from "./runs/recent.js";
import * as tabs from "./tabs.js";

const RETRY = 3_000; // milliseconds until readiness is checked again after a failure
const RECHECK = 30_000;
const RUN = /^#run=([A-Za-z0-9][A-Za-z0-9_-]{0,127})$/; // as dockrion/ids.py
const INVOCATION = /^#wait=(\d{1,9})$/;
const ENDPOINTS = { stream: "POST /invoke/stream", start: "POST /runs", invoke: "POST /invoke" };

const requestForm = byId("request");
const signIn = byId("sign-in");
const keyButton = byId("key-button");

onUnauthorized((header, wasRejected) => new Promise((resolve, reject) => {
  byId("sign-in-header").textContent = `It is sent in the ${header} header.`;
  byId("sign-in-problem").textContent = wasRejected ? "The key or token was rejected, or has expired." : "";
  byId("key").value = "";
  signIn.returnValue = "";
  signIn.addEventListener("close", () => {
    if (signIn.returnValue === "enter") resolve(byId("key").value.trim());
    else reject(new HttpError(401, { error: "An API key or token is required.", code: "AUTH_ERROR" }));
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
    await actions[event.submitter.value](body);
  } catch (error) {
    form.showProblem(error.message, error.details);
  }
  requestForm.ariaBusy = "false";
});

conversation.connect(
  (body, turn) => actions[requestForm.querySelector("button.main").value](body, turn),
  () => {
    history.pushState(null, "", location.pathname);
    actions.reset();
  },
);

byId("skip").addEventListener("click", (event) => {
  event.preventDefault(); // the URL's fragment names the run that is shown
  byId("run").focus();
});

byId("stop").addEventListener("click", actions.cancel);

window.addEventListener("popstate", showRunInUrl);

function showRunInUrl() {
  const runId = RUN.exec(location.hash)?.[1];
  const invocation = INVOCATION.exec(location.hash)?.[1];
  if (runId !== undefined) actions.watch(runId);
  else if (invocation !== undefined) actions.showInvocation(Number(invocation));
  else actions.reset();
}

function showKeyButton() {
  keyButton.hidden = false;
  keyButton.textContent = credential() === null ? "Enter a key" : "Forget the key";
}

let shownSchema; // as JSON, once there is a form

async function showForm() {
  const schema = await requestJson("GET", "schema").catch((error) => ({ error }));
  const known = JSON.stringify(schema);
  if (known !== shownSchema) form.show(conversation.configure(schema), conversation.isChat());
  shownSchema = known;
  if (schema.error) form.showProblem(`The form cannot be shown: ${schema.error.message}`);
}

async function checkReadiness() {
  const readiness = byId("readiness");
  const wasReady = readiness.className !== "not-ready";
  let wait = RETRY;
  try {
    await requestJson("GET", "ready");
    wait = RECHECK;
    readiness.textContent = "Ready";
    if (!wasReady && shownSchema !== undefined) await showForm(); // an agent that is loaded may have its own
  } catch (error) {
    readiness.textContent = error instanceof HttpError ? `Not ready: ${error.message}` : "Not reachable";
  }
  readiness.className = wait === RECHECK ? "ready" : "not-ready";
  setTimeout(checkReadiness, wait);
}

async function start() {
  const info = await requestJson("GET", "info");
  document.title = info.agent.name;
  byId("agent").textContent = info.agent.name;
  byId("description").textContent = info.agent.description ?? "";
  byId("version").textContent = info.version;
  if (info.auth_enabled) showKeyButton();
  actions.configure(info);
  for (const button of requestForm.querySelectorAll("button[type=submit]")) {
    button.hidden = !actions.offers(ENDPOINTS[button.value]);
  }
  requestForm.querySelector("button[type=submit]:not([hidden])").classList.add("main");
  byId("docs-link").hidden = !actions.offers("GET /docs");
  byId("schema-link").hidden = !actions.offers("GET /schema");
  await compareClocks();
  await showForm();
  startRecent();
  showRunInUrl();
}

function startRecent() {
  const listed = actions.offers("GET /runs");
  if (!listed && !actions.offers(ENDPOINTS.invoke)) return;
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

tabs.connect(document.querySelector("[role=tablist]"));
checkReadiness();
start().catch((error) => form.showProblem(error.message));
