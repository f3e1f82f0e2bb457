// Two programs of one host; one of them is killed at any host call or store of a call on their
// connection, whose ends have another owner each, who goes on with it.

import assert from "node:assert/strict";
import { test } from "node:test";
import { SocketState } from "../../build/gen/layout.ts";
import { regionBreaches } from "../../src/core/region-checks.ts";
import { createHost, type Host } from "../../src/sim/host.ts";
import { receiveLent, sendLent } from "./lent.ts";
import { LOCAL, LOCAL_MAC } from "./machine.ts";
import { KILLS_MAX, killedAt, mortal, PROBED } from "./mortal.ts";

const EAGAIN = 11;
const LOOPBACK = "127.0.0.1";
const SERVER_PORT = 7000;
const SECOND = 1_000_000_000n;
/** The killed program. */
const DEAD = 1;
/** Whoever repairs is killed at every so many stores, too. */
const REPAIR_STRIDE = 97;

let now = SECOND;

interface Pair {
  host: Host;
  server: number;
  client: number;
  cookie: bigint;
  accepted: number;
}

/** Bytes that say where in the stream they are. */
function stretch(from: number, bytes: number): Buffer {
  return Buffer.from(Array.from({ length: bytes }, (_, at) => ((from + at) * 0x9e3779b1) >>> 24));
}

function readAll(host: Host, index: number): Buffer {
  const parts: Uint8Array[] = [];
  for (;;) {
    const got = host.sockets.receive(index, 1 << 20, now);
    if (typeof got === "number") {
      assert.equal(got, -EAGAIN);
      return Buffer.concat(parts);
    }
    if (got.length === 0) return Buffer.concat(parts);
    parts.push(got);
  }
}

/** Where in the stream these bytes are, which end at `end`. */
function assertSuffix(got: Buffer, end: number, atMost: number): void {
  assert.ok(got.length <= atMost, `${got.length} bytes, of ${atMost}`);
  assert.deepEqual(got, stretch(end - got.length, got.length));
}

/** Enough for what timers have to do. */
function passTime(host: Host): void {
  for (let seconds = 0; seconds < 3; seconds++) {
    now += SECOND;
    host.run(now);
  }
}

/** Sockets that are not free. */
function inUse({ header, sockets }: Host): number[] {
  const all = Array.from({ length: header.socketHigh - 1 }, (_, before) => before + 1);
  return all.filter((index) => sockets.socketAt(index).state !== SocketState.Free);
}

const SENT = 6000;
const READ = 2500;
const REST = 100;

interface Story {
  /** What is done before, by those that live. */
  before?: (pair: Pair) => void;
  /** What the program is killed in. */
  action: (pair: Pair) => void;
  /** What must be true then; the socket's other owner goes on. */
  after: (pair: Pair) => void;
}

/** What was sent is whole up to where the dead program got, and what another owner adds is behind. */
function afterSending({ host, client, accepted }: Pair): void {
  const taken = readAll(host, accepted);
  host.sockets.send(client, stretch(SENT, REST), now);
  const all = Buffer.concat([taken, readAll(host, accepted)]);
  const own = all.length - REST;
  assert.ok(own >= 0 && own <= SENT, `${all.length} bytes`);
  assert.deepEqual(all.subarray(0, own), stretch(0, own));
  assert.deepEqual(all.subarray(own), stretch(SENT, REST));
}

/** What the dead program had not taken is there, and what comes behind is. */
function afterReceiving({ host, client, accepted }: Pair): void {
  const rest = readAll(host, client);
  assertSuffix(rest, SENT, SENT);
  host.sockets.send(accepted, stretch(SENT, REST), now);
  assertSuffix(readAll(host, client), SENT + REST, REST);
}

const fill = ({ host, accepted }: Pair) => {
  assert.equal(host.sockets.send(accepted, stretch(0, SENT), now), SENT);
};

function connectFrom(host: Host, port: number): void {
  const to = { address: LOOPBACK, port: SERVER_PORT };
  host.sockets.connect(host.sockets.create(), { port }, to, now);
}

const stories: Record<string, Story> = {
  sends: {
    action: ({ host, client }) => void host.sockets.send(client, stretch(0, SENT), now),
    after: afterSending,
  },
  "sends lent frames": {
    action: ({ host, client }) => void sendLent(host, client, stretch(0, SENT), now),
    after: afterSending,
  },
  receives: {
    before: fill,
    action: ({ host, client }) => void host.sockets.receive(client, READ, now),
    after: (pair) => {
      assert.ok(pair.host.sockets.socketAt(pair.client).readableBytes >= SENT - READ);
      afterReceiving(pair);
    },
  },
  "receives lent frames": {
    before: fill,
    action: ({ host, client }) => void receiveLent(host, client, now),
    after: afterReceiving,
  },
  shuts: {
    action: ({ host, client }) => void host.sockets.shutdown(client, 1, now),
    after: ({ host, client, accepted }) => {
      host.sockets.send(accepted, stretch(0, REST), now);
      assertSuffix(readAll(host, client), REST, REST);
      host.sockets.shutdown(client, 1, now);
      assert.deepEqual(host.sockets.receive(accepted, 10, now), new Uint8Array());
    },
  },
  closes: {
    before: ({ host, client }) => void host.sockets.send(client, stretch(0, REST), now),
    action: ({ host, client }) => host.sockets.close(client, now),
    after: ({ host, server, client, cookie, accepted }) => {
      // exasockd finds that nobody has it.
      if (host.sockets.isOpen(client, cookie)) host.sockets.close(client, now);
      host.run(now);
      assert.deepEqual(readAll(host, accepted), stretch(0, REST));
      assert.deepEqual(host.sockets.receive(accepted, 10, now), new Uint8Array());
      host.sockets.close(accepted, now);
      passTime(host);
      assert.deepEqual(inUse(host), [server]);
    },
  },
  accepts: {
    before: ({ host }) => connectFrom(host, 5009),
    action: ({ host, server }) => void host.sockets.accept(server),
    after: ({ host, server, client, accepted }) => {
      host.sockets.send(client, stretch(0, REST), now);
      assertSuffix(readAll(host, accepted), REST, REST);
      // Taken by the dead program, or not.
      const other = host.sockets.accept(server);
      assert.ok(other > 0 || other === -EAGAIN, `accept: ${other}`);
      connectFrom(host, 5010);
      assert.ok(host.sockets.accept(server) > 0);
    },
  },
  connects: {
    action: ({ host }) => connectFrom(host, 5009),
    after: ({ host, client, accepted }) => {
      host.sockets.send(client, stretch(0, REST), now);
      assertSuffix(readAll(host, accepted), REST, REST);
    },
  },
};

function createPair(): Pair & { life: { left: number } } {
  const { made: host, life } = mortal((overrides) =>
    createHost(PROBED, () => undefined, { frameCount: 1024, host: overrides }),
  );
  host.addInterface({ ifindex: 7, mac: LOCAL_MAC, address: LOCAL });
  host.calls.clientAdd(77);
  host.calls.clientAdd(78);
  const server = host.sockets.create();
  host.sockets.listen(server, { address: "0.0.0.0", port: SERVER_PORT }, 8);
  const client = host.sockets.create();
  const to = { address: LOOPBACK, port: SERVER_PORT };
  assert.equal(host.sockets.connect(client, { port: 5000 }, to, now), 0);
  const { cookie } = host.sockets.socketAt(client);
  return { host, life, server, client, cookie, accepted: host.sockets.accept(server) };
}

for (const [what, { before, action, after }] of Object.entries(stories)) {
  test(`killed anywhere while it ${what}: the other owners go on`, () => {
    let n = 0;
    for (; n < KILLS_MAX; n++) {
      const { life, ...pair } = createPair();
      const { host } = pair;
      before?.(pair);
      if (!killedAt(life, n, () => action(pair))) break;
      try {
        if (n % REPAIR_STRIDE === 0) killedAt(life, n, () => host.calls.regionRecover());
        host.calls.regionRecover();
        host.calls.clientRemove(DEAD);
        assert.deepEqual(regionBreaches(host.view), []);
        passTime(host);
        after(pair);
        assert.deepEqual(regionBreaches(host.view), []);
        assert.equal(host.takeSent().length, 0, "something went to a device");
      } catch (error) {
        const { message } = error as Error;
        throw new Error(`killed at ${n}: ${message}`, { cause: error });
      }
    }
    assert.ok(n > 5 && n < KILLS_MAX, `${n} stores`);
  });
}
