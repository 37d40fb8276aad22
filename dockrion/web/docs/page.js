"use strict";

// The key stays in this page: it is neither stored nor put into an address.
const ask = document.getElementById("ask");
const key = document.getElementById("key");
const problem = document.getElementById("problem");

function say(text) {
  problem.textContent = text;
}

function withKey(headers, schemes) {
  if (!key.value) return headers;
  const own = Object.values(schemes).find((scheme) => scheme.type === "apiKey" && scheme.in === "header");
  return own ? { ...headers, [own.name]: key.value } : { ...headers, Authorization: `Bearer ${key.value}` };
}

async function load() {
  let schemes = {};
  const name = ask.dataset.header;
  const guess = name ? { key: { type: "apiKey", in: "header", name } } : {};
  const answer = await fetch("openapi.json", { headers: withKey({}, guess) });
  if (answer.status === 401 || answer.status === 403) {
    ask.hidden = false;
    const challenge = answer.headers.get("WWW-Authenticate") ?? "";
    ask.dataset.header = /ApiKey header="([^"]+)"/.exec(challenge)?.[1] ?? "";
    say(key.value ? (await answer.json()).error : "This service asks who you are.");
    key.focus();
    return;
  }
  if (!answer.ok) {
    say(`The description cannot be had now: ${answer.status}.`);
    return;
  }
  const spec = await answer.json();
  schemes = spec.components.securitySchemes ?? {};
  document.title = `${spec.info.title}: API`;
  ask.hidden = true;
  say("");
  if (typeof SwaggerUIBundle === "undefined") {
    say("The files of the reference are not installed; the documents above are all there is.");
    return;
  }
  SwaggerUIBundle({
    spec,
    dom_id: "#reference",
    deepLinking: true,
    validatorUrl: null,
    requestInterceptor(request) {
      request.headers = withKey(request.headers, schemes);
      return request;
    },
  });
}

function show() {
  load().catch(() => say("The service does not answer."));
}

ask.addEventListener("submit", (event) => {
  event.preventDefault();
  show();
});
show();
