// The stored events of a run, read again.

import { request } from "../api.js";
import { batches } from "../stream.js";

const TIMEOUT = 60_000; // milliseconds without a byte

/** Yield arrays of a run's events from the first to the last sequence, which `last()` returns. */
export async function* stored(runId, first, last, signal) {
  const response = await request("GET", `runs/${runId}/events?from_sequence=${first}`, { signal, timeout: TIMEOUT });
  for await (const batch of batches(response.body, TIMEOUT)) {
    signal?.throwIfAborted();
    const end = last();
    yield batch.filter(({ id }) => id !== null && id <= end);
    if (batch.some(({ id }) => id !== null && id >= end)) return;
  }
}
