// The page: learns what the service is and offers, and connects what is on it.

import { Refused, askJson, compareClocks, credential, forget, onLocked } from "./api.js";
import { byId } from "./dom.js";
import * as form from "./form.js";
import * as recent from "./recent.js";
import * as actions from "./actions.js";

const SOON = 3_000; // milliseconds until the service is asked again whether it is ready
const LATER = 30_000;
const RUN = /^#run=([A-Za-z0-9][A-Za-z0-9_-]{0,127})$/;
const ENDPOINTS = { stream: "POST /invoke/stream", start: "POST /runs", invoke: "POST /invoke" };

const ask = byId("ask");
const door = byId("door");
const keyButton = byId("forget");

onLocked((header, wasRefused) => new Promise((resolve, reject) => {
  byId("door-header").textContent = `It is sent as ${header}.`;
  byId("door-problem").textContent = wasRefused ? "The service does not take this one, or no longer." : "";
  byId("key").value = "";
  door.returnValue = "";
  door.addEventListener("close", () => {
    if (door.returnValue === "enter") resolve(byId("key").value.trim());
    else reject(new Refused(401, { error: "This needs a key or token.", code: "AUTH_ERROR" }));
    showKeyButton();
  }, { once: true });
  door.showModal();
}));

keyButton.addEventListener("click", () => {
  forget();
  location.reload();
});

ask.addEventListener("submit", async (event) => {
  event.preventDefault();
  const body = form.body();
  if (body === null || ask.ariaBusy === "true") return;
  ask.ariaBusy = "true";
  try {
    await actions[event.submitter.value](body);
  } catch (error) {
    form.refuse(error.message, error.details);
  }
  ask.ariaBusy = "false";
});

byId("skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address names the run that is shown
  byId("run").focus();
});

byId("cancel").addEventListener("click", actions.cancel);

byId("copy").addEventListener("click", async ({ target }) => {
  getSelection().selectAllChildren(byId("curl"));
  const copied = navigator.clipboard?.writeText(byId("curl").textContent) ?? Promise.reject();
  target.textContent = await copied.then(() => "Copied", () => "Selected: press Ctrl-C");
});

window.addEventListener("popstate", open);

function open() {
  const runId = RUN.exec(location.hash)?.[1];
  if (runId === undefined) actions.rest();
  else actions.watch(runId);
}

function showKeyButton() {
  keyButton.hidden = false;
  keyButton.textContent = credential() === null ? "Enter a key" : "Forget the key";
}

async function tellReadiness() {
  const said = byId("readiness");
  let pause = SOON;
  try {
    await askJson("GET", "ready");
    pause = LATER;
    said.textContent = "Ready";
  } catch (error) {
    said.textContent = error instanceof Refused ? `Not ready: ${error.message}` : "Not reachable";
  }
  said.className = pause === LATER ? "ready" : "not-ready";
  setTimeout(tellReadiness, pause);
}

async function begin() {
  const info = await askJson("GET", "info");
  document.title = info.agent.name;
  byId("agent").textContent = info.agent.name;
  byId("description").textContent = info.agent.description ?? "";
  byId("version").textContent = info.version;
  if (info.auth_enabled) showKeyButton();
  actions.learn(info);
  for (const button of ask.querySelectorAll("button[type=submit]")) {
    button.hidden = !actions.offers(ENDPOINTS[button.value]);
  }
  ask.querySelector("button[type=submit]:not([hidden])").classList.add("main");
  await compareClocks();
  const schema = await askJson("GET", "schema").catch((error) => ({ error }));
  form.show(schema.input_schema ?? null);
  if (schema.error) form.refuse(`The form is not known: ${schema.error.message}`);
  if (actions.offers("GET /runs")) recent.begin(actions.watch);
  open();
}

tellReadiness();
begin().catch((error) => form.refuse(error.message));
