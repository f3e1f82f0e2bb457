// Programs that joined the region. The slot number is what the lock word and waiters name.

import { MAX_CLIENTS } from "../config";
import { CLIENT_BYTES, CLIENTS_OFFSET } from "../layout";
import { dropReferences } from "../epoll/references";
import { takeBackAll } from "../local/lending";
import { removeClientWaiters } from "../wait/waiter";

@final
@unmanaged
export class Client {
  /** Process id as exasockd sees it; 0 marks a free slot. */
  pid: u32;
  /** How often the slot was given away: part of what its user writes into the lock word. */
  generation: u32;

  static at(slot: u32): Client {
    return changetype<Client>(<usize>(CLIENTS_OFFSET + slot * CLIENT_BYTES));
  }
}

/** Slot of a new client, 1 to MAX_CLIENTS - 1, or 0 when all are in use. */
export function addClient(pid: u32): u32 {
  for (let slot: u32 = 1; slot < MAX_CLIENTS; slot++) {
    const client = Client.at(slot);
    if (client.pid != 0) continue;
    client.generation += 1;
    client.pid = pid;
    return slot;
  }
  return 0;
}

/** exasockd has slot 0: one after the other. */
export function addDaemon(): void {
  Client.at(0).generation += 1;
}

export function removeClient(slot: u32): void {
  if (slot == 0 || slot >= MAX_CLIENTS) return;
  removeClientWaiters(slot);
  dropReferences(slot);
  takeBackAll(slot);
  Client.at(slot).pid = 0;
}

export function checkClientLayout(): void {
  if (offsetof<Client>() > CLIENT_BYTES) ERROR("Client is larger than its slot");
}
