"use strict";

// The key stays in this page: it is neither stored nor put into a URL.
const form = document.getElementById("sign-in");
const key = document.getElementById("key");
const dark = matchMedia("(prefers-color-scheme: dark)");

function showProblem(text) {
  document.getElementById("problem").textContent = text;
}

function followColorScheme() {
  document.documentElement.classList.toggle("dark-mode", dark.matches); // the name that Swagger UI gives it
}

/** Add the key to headers: in the API key header that the security schemes name, else as a bearer token. */
function withKey(headers, schemes) {
  const secret = key.value.trim();
  if (secret === "") return headers;
  const scheme = Object.values(schemes).find(({ type, in: location }) => type === "apiKey" && location === "header");
  return scheme ? { ...headers, [scheme.name]: secret } : { ...headers, Authorization: `Bearer ${secret}` };
}

async function load() {
  const name = form.dataset.header;
  const guess = name ? { key: { type: "apiKey", in: "header", name } } : {};
  const response = await fetch("openapi.json", { headers: withKey({}, guess) });
  if (response.status === 401 || response.status === 403) {
    form.hidden = false;
    const challenge = response.headers.get("WWW-Authenticate") ?? "";
    form.dataset.header = /ApiKey header="([^"]+)"/.exec(challenge)?.[1] ?? "";
    document.getElementById("refused").textContent = key.value === "" ? "" : await refusal(response);
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
  const base = new URL(".", location.href); // a proxy may have put the service there without its knowledge
  if (base.pathname !== "/") spec.servers ??= [{ url: base.href }];
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

/** Return why a key is refused, in the words of the page at `/`. */
async function refusal(response) {
  return response.status === 401 ? "This key or token is wrong, or has expired." : (await response.json()).error;
}

function show() {
  load().catch(() => showProblem("The service does not respond."));
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  show();
});
dark.addEventListener("change", followColorScheme);
followColorScheme();
show();
