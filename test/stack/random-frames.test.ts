import assert from "node:assert/strict";
import { test } from "node:test";
import { createMachine, LOCAL } from "./machine.ts";
import { icmpError, udpDatagram } from "./packets.ts";

/** xorshift32: the frames are the same in every run. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

test("100,000 random and damaged frames are counted, nothing crashes, no frame is lost", () => {
  const machine = createMachine({ frameCount: 512, fillTarget: 128 });
  const server = machine.bound(LOCAL, 1234);
  const any = machine.bound("0.0.0.0", 1235);
  const next = random(0x5eed);
  const good = udpDatagram({ payload: Buffer.from("payload of some length") });
  const error = icmpError(3, 3, good.subarray(14));
  let delivered = 0;
  for (let n = 0; n < 100_000; n++) {
    const kind = next() % 4;
    let frame: Uint8Array;
    if (kind === 0) {
      frame = new Uint8Array(next() % 1600).map(() => next());
    } else {
      frame = (kind === 1 ? error : good).slice(0, 14 + (next() % 60));
      for (let flips = next() % 4; flips > 0; flips--) frame[next() % frame.length] = next();
    }
    if (machine.deliver(frame)) delivered += 1;
    if (n % 50 === 49) {
      machine.poll();
      while (machine.receive(server) || machine.receive(any));
    }
  }
  machine.poll();
  while (machine.receive(server) || machine.receive(any));
  assert.equal(delivered, 100_000);
  const { header } = machine;
  assert.equal(header.rxFrames, 100_000n);
  const drops = Object.getOwnPropertyNames(Object.getPrototypeOf(header))
    .filter((name) => name.startsWith("rxDrop") || name.startsWith("rxIcmp"))
    .map((name) => header[name as keyof typeof header] as bigint)
    .reduce((sum, value) => sum + value, 0n);
  assert.equal(header.rxDatagrams + drops, 100_000n);
  const { queued, fill } = machine.census();
  assert.equal(queued, 0);
  assert.equal(fill, 128);
});
