"use strict";

// The key stays in this page: it is neither stored nor put into a URL.
const form = document.getElementById("sign-in");
const key = document.getElementById("key");
const problem = document.getElementById("problem");

function showProblem(text) {
  problem.textContent = text;
}

/** Add the key to headers: in the API key header that the security schemes name, else as a bearer token. */
function withKey(headers, schemes) {
  if (!key.value) return headers;
  const scheme = Object.values(schemes).find(({ type, in: location }) => type === "apiKey" && location === "header");
  return scheme ? { ...headers, [scheme.name]: key.value } : { ...headers, Authorization: `Bearer ${key.value}` };
}

async function load() {
  const name = form.dataset.header;
  const guess = name ? { key: { type: "apiKey", in: "header", name } } : {};
  const response = await fetch("openapi.json", { headers: withKey({}, guess) });
  if (response.status === 401 || response.status === 403) {
    form.hidden = false;
    const challenge = response.headers.get("WWW-Authenticate") ?? "";
    form.dataset.header = /ApiKey header="([^"]+)"/.exec(challenge)?.[1] ?? "";
    showProblem(key.value ? (await response.json()).error : "This service requires an API key or token.");
    key.focus();
    return;
  }
  if (!response.ok) {
    showProblem(`The API description is not available: status ${response.status}.`);
    return;
  }
  const spec = await response.json();
  const schemes = spec.components.securitySchemes ?? {};
  document.title = `${spec.info.title}: API`;
  form.hidden = true;
  showProblem("");
  if (typeof SwaggerUIBundle === "undefined") {
    showProblem("Swagger UI is not installed; use the documents linked above.");
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
  load().catch(() => showProblem("The service does not respond."));
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  show();
});
show();
