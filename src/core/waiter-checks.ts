// Programs and their sleeping threads.

import {
  CLIENT_BYTES,
  CLIENTS_OFFSET,
  ClientView,
  MAX_CLIENTS,
  WAITER_BYTES,
  WAITERS_OFFSET,
  WaiterState,
  WaiterView,
} from "../../build/gen/layout.ts";
import type { Fail, Inspected } from "./connection-checks.ts";

/** Threads' slots belong to programs, and who sleeps is counted. */
export function checkClients({ view, header }: Inspected, fail: Fail): void {
  const clients = new Set<number>();
  for (let slot = 1; slot < MAX_CLIENTS; slot++) {
    const { pid } = new ClientView(view, CLIENTS_OFFSET + slot * CLIENT_BYTES);
    if (pid !== 0) clients.add(slot);
  }
  let sleepers = 0;
  for (let slot = 1; slot < header.waiterHigh; slot++) {
    const waiter = new WaiterView(view, WAITERS_OFFSET + slot * WAITER_BYTES);
    if (waiter.state === WaiterState.Free) continue;
    if (!clients.has(waiter.client)) fail(`waiter ${slot} is of client ${waiter.client}: gone`);
    if (waiter.state !== WaiterState.Awake) sleepers++;
  }
  if (sleepers !== header.sleepers) fail(`${sleepers} sleep, ${header.sleepers} are counted`);
  if (header.leader === 0) return;
  const leader = new WaiterView(view, WAITERS_OFFSET + (header.leader - 1) * WAITER_BYTES);
  if (leader.state === WaiterState.Free) fail(`waiter ${header.leader - 1} leads and is gone`);
}
