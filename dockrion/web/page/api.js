// Asking the service, with a key or token where it wants one.

const KEPT = "dockrion.credential"; // in the session storage: of this tab, until it is closed
const KEY_HEADER = /ApiKey header="([^"]+)"/;

/** The service's answer was an error. */
export class Refused extends Error {
  constructor(status, { error, code, details }) {
    super(error ?? `the service answered ${status}`);
    this.status = status;
    this.code = code;
    this.details = details;
  }
}

/** What is sent to prove who asks: `{header, scheme, secret}`, or null. */
export function credential() {
  return JSON.parse(sessionStorage.getItem(KEPT));
}

export function forget() {
  sessionStorage.removeItem(KEPT);
}

let unlock = null;
let unlocking = null; // one dialog for all requests that need it

/** Set what asks the person for a key: it gets the header and whether one was refused, and returns it. */
export function onLocked(asking) {
  unlock = asking;
}

/**
 * Send a request, and return the response.
 *
 * `patience` is how many milliseconds its head may take. Throws `Refused` for an error, and
 * another `Error` where there is no answer.
 */
export async function ask(method, path, { body, headers = {}, signal, patience } = {}) {
  for (;;) {
    const sent = credential();
    const proof = sent === null ? {} : { [sent.header]: sent.scheme + sent.secret };
    const type = body === undefined ? {} : { "Content-Type": "application/json" };
    const response = await headOf(address(path), patience, signal, {
      method, body, cache: "no-store", headers: { ...headers, ...type, ...proof },
    });
    if (response.ok) return response;
    const refused = new Refused(response.status, await response.json().catch(() => ({})));
    if (response.status !== 401) throw refused;
    await unlocked(response.headers.get("WWW-Authenticate") ?? "", sent);
  }
}

export async function askJson(method, path, options) {
  return (await ask(method, path, options)).json();
}

async function headOf(url, patience, signal, options) {
  const late = new AbortController();
  const timer = patience === undefined ? undefined : setTimeout(() => late.abort(), patience);
  try {
    return await fetch(url, { ...options, signal: AbortSignal.any([late.signal, ...(signal ? [signal] : [])]) });
  } catch (error) {
    throw error.name === "TypeError" ? new Error("The service cannot be reached.") : error;
  } finally {
    clearTimeout(timer);
  }
}

let ahead = 0;

/** Return by how many milliseconds the service's clock is ahead of this one. */
export function clockAhead() {
  return ahead;
}

/** Compare the clocks: they agree, unless the service answered before it was asked or after its answer was here. */
export async function compareClocks() {
  const asked = Date.now();
  const { timestamp } = await askJson("GET", "health");
  const answered = Date.parse(timestamp);
  ahead = Math.max(answered - Date.now(), Math.min(0, answered - asked));
}

/** Return where a path of the service is, whatever it is served under. */
export function address(path) {
  return new URL(path, document.baseURI.split("#")[0]).href;
}

async function unlocked(challenge, sent) {
  if (credential()?.secret !== sent?.secret) return; // another request has just got one
  const key = KEY_HEADER.exec(challenge);
  const place = key ? { header: key[1], scheme: "" } : { header: "Authorization", scheme: "Bearer " };
  unlocking ??= unlock(place.header, sent !== null)
    .then((secret) => sessionStorage.setItem(KEPT, JSON.stringify({ ...place, secret })))
    .finally(() => (unlocking = null));
  await unlocking;
}
