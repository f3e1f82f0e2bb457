// Connections from this host to itself: two ends in one region.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import fc from "fast-check";
import { TcpOption, TcpState, VIA_KERNEL } from "../../build/gen/layout.ts";
import { regionBreaches } from "../../src/core/region-checks.ts";
import { createHost, type Host } from "../../src/sim/host.ts";
import { receiveLent, sendLent } from "./lent.ts";
import { LOCAL, LOCAL_MAC } from "./machine.ts";

const compiled = new WebAssembly.Module(
  readFileSync(new URL("../../build/stack.wasm", import.meta.url)),
);
const EAGAIN = 11;
const EPIPE = 32;
const ECONNRESET = 104;
const LOOPBACK = "127.0.0.1";
const SERVER_PORT = 7000;
const SECOND = 1_000_000_000n;

function createWorld(frameCount = 1024): Host {
  const host = createHost(compiled, () => undefined, { frameCount });
  host.addInterface({ ifindex: 7, mac: LOCAL_MAC, address: LOCAL });
  host.calls.clientAdd(77);
  return host;
}

let now = SECOND;

function listener(host: Host, backlog = 8): number {
  const index = host.sockets.create();
  assert.equal(host.sockets.listen(index, { address: "0.0.0.0", port: SERVER_PORT }, backlog), 0);
  return index;
}

/** A client's end and the server's. */
function connected(host: Host, server: number, port: number, address = LOOPBACK): [number, number] {
  const client = host.sockets.create();
  assert.equal(host.sockets.connect(client, { port }, { address, port: SERVER_PORT }, now), 0);
  const accepted = host.sockets.accept(server);
  assert.ok(accepted > 0, `accept: ${accepted}`);
  return [client, accepted];
}

/** What a program gets that reads everything there is. */
function readAll(host: Host, index: number): Buffer {
  const got = host.sockets.receive(index, 1 << 20, now);
  return typeof got === "number" ? Buffer.from(`error ${-got}`) : Buffer.from(got);
}

const state = (host: Host, index: number) => host.sockets.tcbAt(index).state;

function assertSound(host: Host): void {
  assert.deepEqual(regionBreaches(host.view), []);
  assert.equal(host.takeSent().length, 0, "something went to a device");
}

test("a connection is there when connect returns, and bytes cross without segments", () => {
  const host = createWorld();
  const server = listener(host);
  for (const [port, address] of [
    [5000, LOOPBACK],
    [5001, "127.9.9.9"],
    [5002, LOCAL],
  ] as const) {
    const [client, accepted] = connected(host, server, port, address);
    assert.equal(host.sockets.remoteOf(accepted).port, port);
    host.sockets.send(client, Buffer.from("there"), now);
    host.sockets.send(accepted, Buffer.from("and back"), now);
    const segments = host.header.localSegments;
    for (let n = 0; n < 100; n++) {
      host.sockets.send(client, Buffer.from(`${n} `), now);
      assert.equal(host.sockets.tcbAt(client).sndUna, host.sockets.tcbAt(client).writeSeq);
    }
    assert.equal(host.header.localSegments, segments);
    const expected = `there${Array.from({ length: 100 }, (_, n) => `${n} `).join("")}`;
    assert.equal(readAll(host, accepted).toString(), expected);
    assert.equal(readAll(host, client).toString(), "and back");
  }
  assertSound(host);
});

test("where nobody of the region listens, the kernel connects", () => {
  const host = createWorld();
  const to = { address: LOOPBACK, port: SERVER_PORT };
  assert.equal(host.sockets.connect(host.sockets.create(), { port: 5000 }, to, now), -VIA_KERNEL);
  assertSound(host);
});

test("a sender that waits for room is not looked at for its keepalive all the time", () => {
  const host = createWorld();
  const [client] = connected(host, listener(host), 5000);
  host.sockets.setOption(client, TcpOption.KeepIdle, 1, now);
  host.sockets.setOption(client, TcpOption.KeepAlive, 1, now);
  while (host.sockets.send(client, Buffer.alloc(10_000), now) > 0);
  assert.notEqual(host.sockets.tcbAt(client).sendNext, 0);
  now += 5n * SECOND;
  host.run(now);
  assert.equal(host.sockets.tcbAt(client).lingerAt, now + SECOND);
  assertSound(host);
});

test("an end in order leaves nothing behind, and no TIME-WAIT", () => {
  const host = createWorld();
  const server = listener(host);
  for (let round = 0; round < 50; round++) {
    // The same ports every time.
    const [client, accepted] = connected(host, server, 5000);
    host.sockets.send(client, Buffer.from("bye"), now);
    host.sockets.shutdown(client, 1, now);
    assert.equal(readAll(host, accepted).toString(), "bye");
    assert.equal(readAll(host, accepted).length, 0);
    host.sockets.close(accepted, now);
    assert.equal(state(host, client), TcpState.Closed);
    host.sockets.close(client, now);
  }
  assert.equal(host.header.timeWaits, 0);
  assert.equal(host.header.tcpActiveOpens, 50n);
  assertSound(host);
});

test("what is unread when an end is closed becomes a reset, and so does late data", () => {
  const host = createWorld();
  const server = listener(host);
  const [client, accepted] = connected(host, server, 5000);
  host.sockets.send(client, Buffer.from("unread"), now);
  host.sockets.close(accepted, now);
  assert.equal(host.sockets.takeError(client), ECONNRESET);
  const [other, gone] = connected(host, server, 5001);
  host.sockets.close(gone, now);
  assert.equal(host.sockets.send(other, Buffer.from("late"), now), 4);
  assert.equal(host.sockets.send(other, Buffer.from("later"), now), -EPIPE);
  assertSound(host);
});

test("a reader that does not read stops the writer, and lets it go on", () => {
  const host = createWorld(4096);
  const server = listener(host);
  const [client, accepted] = connected(host, server, 5000);
  host.sockets.setOption(accepted, TcpOption.ReceiveBuffer, 20_000, now);
  host.sockets.setOption(client, TcpOption.SendBuffer, 20_000, now);
  const data = Buffer.from(Array.from({ length: 1000 }, (_, n) => n & 255));
  let sent = 0;
  for (;;) {
    const result = host.sockets.send(client, data, now);
    if (result === -EAGAIN) break;
    sent += result;
  }
  assert.ok(sent > 20_000 && sent < 60_000, `${sent} sent`);
  let got = readAll(host, accepted).length;
  while (got < sent) got += readAll(host, accepted).length;
  assert.equal(got, sent);
  assert.equal(host.sockets.send(client, data, now), data.length);
  assertSound(host);
});

test("whatever is sent in whatever way arrives, whole and in order", () => {
  const step = fc.record({
    way: fc.constantFrom("send", "lend", "more", "urgent", "receive", "take", "time"),
    bytes: fc.oneof(fc.integer({ min: 1, max: 600 }), fc.integer({ min: 1, max: 30_000 })),
    back: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const host = createWorld(4096);
      const [client, accepted] = connected(host, listener(host), 5000);
      host.sockets.setOption(client, TcpOption.OobInline, 1, now);
      host.sockets.setOption(accepted, TcpOption.OobInline, 1, now);
      const sent: [Buffer[], Buffer[]] = [[], []];
      const got: [Buffer[], Buffer[]] = [[], []];
      let counter = 0;
      for (const { way, bytes, back } of steps) {
        const [from, to, side] = back ? [accepted, client, 1] : [client, accepted, 0];
        const data = Buffer.from(Uint8Array.from({ length: bytes }, () => counter++ & 255));
        if (way === "receive") got[side as 0].push(readAll(host, to));
        else if (way === "take")
          got[side as 0].push(receiveLent(host, to, now) ?? readAll(host, to));
        else if (way === "time") now += SECOND;
        else {
          const flags = { send: 0, more: 1, urgent: 2, lend: 0 }[way];
          const lent = way === "lend";
          const done = lent
            ? sendLent(host, from, data, now)
            : host.sockets.send(from, data, now, flags);
          if (done > 0) sent[side as 0].push(data.subarray(0, done));
          counter -= bytes - Math.max(done, 0);
        }
        host.run(now);
        assertSound(host);
      }
      for (const [from, to, side] of [
        [client, accepted, 0],
        [accepted, client, 1],
      ] as const) {
        host.sockets.shutdown(from, 1, now);
        for (let n = 0; n < 200; n++) {
          now += SECOND / 10n;
          host.run(now);
          const part = host.sockets.receive(to, 1 << 20, now);
          if (typeof part !== "number") got[side].push(Buffer.from(part));
        }
        const text = (parts: Buffer[]) => Buffer.concat(parts).filter(() => true);
        const all = got[side].filter((part) => part.toString() !== `error ${EAGAIN}`);
        assert.deepEqual(text(all), text(sent[side]));
      }
      assertSound(host);
    }),
    { numRuns: 40 },
  );
});
