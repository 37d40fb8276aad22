// Whether the service is ready, asked again and again. While its author changes it (`dockrion run --reload`) the
// answers name its instance: a new instance says why it cannot work.

import { HttpError, requestJson } from "./api.js";
import { byId } from "./dom.js";

const RETRY = 3_000; // milliseconds until readiness is checked again after a failure
const RECHECK = 30_000;
const RELOADING = 500; // while it is changed
const SHOWN = 3_000; // how long "Reloaded" is

let instance; // undefined unless it is changed
let reloadedAt = -SHOWN;

/**
 * Show the readiness from now on.
 *
 * `onReady` is called when the service is ready and was not, or is another instance than before: its agent may
 * have another schema. The promise that it returns is waited for.
 */
export async function watchReadiness(onReady) {
  const readiness = byId("readiness");
  const known = instance;
  const wasReady = readiness.className !== "not-ready";
  let failure = null;
  try {
    instance = (await requestJson("GET", "ready")).instance;
    if (known !== undefined && instance !== known) reloadedAt = performance.now();
    if (!wasReady || instance !== known) await onReady();
  } catch (error) {
    failure = error;
    if (known === undefined) instance = error.details?.instance;
  }
  const reloaded = performance.now() - reloadedAt < SHOWN;
  readiness.className = failure === null ? "ready" : "not-ready";
  readiness.textContent = failure === null ? (reloaded ? "Reloaded" : "Ready") : text(failure);
  showProblem(failure?.details?.instance === undefined ? "" : failure.message);
  setTimeout(watchReadiness, instance !== undefined ? RELOADING : failure === null ? RECHECK : RETRY, onReady);
}

function text(failure) {
  if (failure.details?.instance !== undefined) return "Not ready";
  if (instance !== undefined) return "Reloading…";
  return failure instanceof HttpError ? `Not ready: ${failure.message}` : "Not reachable";
}

function showProblem(message) {
  const problem = byId("broken");
  if (problem.textContent !== message) problem.textContent = message; // said once by screen readers
  problem.hidden = message === "";
}
