// What was sent, so that what is received can be held against it: every byte of a stream follows
// from the stream's seed and the byte's position.

import { createRandom } from "./prng.ts";
import type { Endpoint } from "./sockets.ts";

/** A prime: no power of two, nor a segment's size, fits into it evenly. */
const TABLE_BYTES = 65521;
const table = makeTable();

function makeTable(): Buffer {
  const random = createRandom(0, "stream contents");
  const bytes = Buffer.alloc(2 * TABLE_BYTES);
  for (let at = 0; at < TABLE_BYTES; at++) bytes[at] = random.next();
  bytes.copy(bytes, TABLE_BYTES, 0, TABLE_BYTES);
  return bytes;
}

/** One direction of a connection. */
export interface Stream {
  seed: number;
  /** Bytes that send(2) took, and that recv(2) gave. */
  written: number;
  read: number;
  /** Bytes of a write that its program did not live to see the end of: any part may arrive. */
  unsure: number;
  /** The sender will send no more, and said so. */
  isFinished: boolean;
}

export interface Conversation {
  client: Endpoint;
  server: Endpoint;
  /** From the client to the server, and back. */
  up: Stream;
  down: Stream;
  /** One of the ends gave up on it (or will): the other may see an error. */
  mayFail: boolean;
  /** Somebody on the way changes what is sent: nothing can be said of what arrives. */
  isForged: boolean;
  /** The server's program has it. */
  isAccepted: boolean;
}

/** The next `count` bytes of a stream that has `written` so far. At most 65521 at a time. */
export function contents(stream: Stream, position: number, count: number): Uint8Array {
  const start = (stream.seed + position) % TABLE_BYTES;
  return table.subarray(start, start + Math.min(count, TABLE_BYTES));
}

/** Index of the first byte that differs from the stream's at `position`, or -1. */
export function firstDifference(stream: Stream, position: number, data: Uint8Array): number {
  for (let at = 0; at < data.length; at += TABLE_BYTES) {
    const part = data.subarray(at, at + TABLE_BYTES);
    const wanted = contents(stream, position + at, part.length);
    if (Buffer.compare(part, wanted) === 0) continue;
    return at + part.findIndex((byte, index) => byte !== wanted[index]);
  }
  return -1;
}

function keyOf(client: Endpoint, server: Endpoint): string {
  return `${client.address}:${client.port} ${server.address}:${server.port}`;
}

export type Ledger = ReturnType<typeof createLedger>;

/** The conversations of a world. */
export function createLedger() {
  const all = new Map<string, Conversation>();
  let streams = 0;

  function newStream(): Stream {
    streams += 1;
    return {
      seed: (streams * 7919) % TABLE_BYTES,
      written: 0,
      read: 0,
      unsure: 0,
      isFinished: false,
    };
  }

  /** A client connects. A later connection of the same addresses and ports takes its place. */
  function open(client: Endpoint, server: Endpoint): Conversation {
    const conversation: Conversation = {
      client,
      server,
      up: newStream(),
      down: newStream(),
      mayFail: false,
      isForged: false,
      isAccepted: false,
    };
    all.set(keyOf(client, server), conversation);
    return conversation;
  }

  const find = (client: Endpoint, server: Endpoint) => all.get(keyOf(client, server));

  return { open, find, all: () => [...all.values()] };
}
