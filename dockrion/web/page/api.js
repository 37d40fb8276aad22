// Requests to the service, with an API key or token where it requires one.

const STORAGE_KEY = "dockrion.credential"; // in the session storage, which belongs to this tab until it is closed
const ATTEMPTS = 3;
const ATTEMPT_DELAY = 500; // milliseconds
const KEY_HEADER = /ApiKey header="([^"]+)"/;

/** An error response of the service. */
export class HttpError extends Error {
  constructor(status, { error, code, details }) {
    super(error ?? `the service answered ${status}`);
    this.status = status;
    this.code = code;
    this.details = details;
  }
}

/** Return the credential to send, `{header, scheme, secret}`, or null. */
export function credential() {
  return JSON.parse(sessionStorage.getItem(STORAGE_KEY));
}

export function clearCredential() {
  sessionStorage.removeItem(STORAGE_KEY);
}

let promptForKey = null;
let prompting = null; // one dialog for all requests that wait for a key

/** Set the function that asks the user for a key: it gets the header's name and whether a key was rejected. */
export function onUnauthorized(prompt) {
  promptForKey = prompt;
}

/**
 * Send a request, and return the response once its head has arrived.
 *
 * `timeout` is how many milliseconds that may take. Throws `HttpError` for an error response, and
 * another `Error` if there is no response.
 */
export async function request(method, path, { body, headers = {}, signal, timeout } = {}) {
  for (;;) {
    const sent = credential();
    const authorization = sent === null ? {} : { [sent.header]: sent.scheme + sent.secret };
    const type = body === undefined ? {} : { "Content-Type": "application/json" };
    const response = await fetchHead(address(path), timeout, signal, {
      method, body, cache: "no-store", headers: { ...headers, ...type, ...authorization },
    });
    if (response.ok) return response;
    const error = new HttpError(response.status, await response.json().catch(() => ({})));
    if (response.status !== 401) throw error;
    await newCredential(response.headers.get("WWW-Authenticate") ?? "", sent);
  }
}

export async function requestJson(method, path, options) {
  return (await request(method, path, options)).json();
}

/** Send a POST as `request` does, and again if its answer is lost: the service carries it out once. */
export async function postOnce(path, { body, signal }) {
  const headers = { "Idempotency-Key": randomKey() };
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await request("POST", path, { body, headers, signal });
    } catch (error) {
      if (error instanceof HttpError || signal?.aborted || attempt === ATTEMPTS) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, ATTEMPT_DELAY));
  }
}

function randomKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16)); // `randomUUID` is missing where the page is not https
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function fetchHead(url, timeout, signal, options) {
  const late = new AbortController();
  const timer = timeout === undefined ? undefined : setTimeout(() => late.abort(), timeout);
  try {
    return await fetch(url, { ...options, signal: AbortSignal.any([late.signal, ...(signal ? [signal] : [])]) });
  } catch (error) {
    throw error.name === "TypeError" ? new Error("The service cannot be reached.") : error;
  } finally {
    clearTimeout(timer);
  }
}

let offset = 0;

/** Return by how many milliseconds the service's clock is ahead of this one. */
export function clockOffset() {
  return offset;
}

/** Measure the offset: it is 0 unless the service's time is before the request or after the response. */
export async function compareClocks() {
  const sentAt = Date.now();
  const { timestamp } = await requestJson("GET", "health");
  const answeredAt = Date.parse(timestamp);
  offset = Math.max(answeredAt - Date.now(), Math.min(0, answeredAt - sentAt));
}

/** Return the URL of a path of the service, which may be served under a prefix. */
export function address(path) {
  return new URL(path, document.baseURI.split("#")[0]).href;
}

async function newCredential(challenge, sent) {
  if (credential()?.secret !== sent?.secret) return; // another request has just got one
  const key = KEY_HEADER.exec(challenge);
  const carrier = key ? { header: key[1], scheme: "" } : { header: "Authorization", scheme: "Bearer " };
  prompting ??= promptForKey(carrier.header, sent !== null)
    .then((secret) => sessionStorage.setItem(STORAGE_KEY, JSON.stringify({ ...carrier, secret })))
    .finally(() => (prompting = null));
  await prompting;
}
