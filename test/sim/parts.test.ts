// The parts of the simulator that findings depend on.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { createClock } from "../../src/sim/clock.ts";
import { createLink, type LinkOptions } from "../../src/sim/link.ts";
import { createRandom } from "../../src/sim/prng.ts";
import { ipNumber, isEcnCapable, onesSum, SYN, tcpPacket } from "../../src/sim/wire.ts";

const PACKETS = 10_000;
const GAP_NANOS = 1e6;

function packet(number: number): Uint8Array {
  return tcpPacket({
    source: ipNumber("10.0.0.1"),
    destination: ipNumber("10.0.0.2"),
    sourcePort: 1,
    destinationPort: 2,
    sequence: number,
    flags: SYN,
    tos: 2,
    payload: new Uint8Array(100),
  });
}

const sequenceOf = (one: Uint8Array) => new DataView(one.buffer).getUint32(14 + 20 + 4);

/** What arrives when packets are sent evenly spaced: numbers, times, contents. */
function through(options: LinkOptions, count = PACKETS, gap = GAP_NANOS) {
  const clock = createClock(0);
  const arrived: { number: number; nanos: number; bytes: Uint8Array }[] = [];
  const drops: string[] = [];
  const link = createLink(clock, createRandom(1, "link"), options, {
    arrive: (bytes) => arrived.push({ number: sequenceOf(bytes), nanos: clock.now(), bytes }),
    dropped: (_, why) => drops.push(why),
  });
  for (let n = 0; n < count; n++) clock.at(n * gap, () => link.send(packet(n)));
  while (clock.step());
  return { arrived, drops, count: link.count };
}

describe("random numbers", () => {
  it("depend on the seed and the stream's name, and on nothing else", () => {
    const draw = (seed: number, name: string) => {
      const random = createRandom(seed, name);
      return [random.next(), random.next(), random.next()];
    };
    assert.deepEqual(draw(1, "a"), draw(1, "a"));
    assert.notDeepEqual(draw(1, "a"), draw(2, "a"));
    assert.notDeepEqual(draw(1, "a"), draw(1, "b"));
    const parent = createRandom(1, "x");
    const before = parent.stream("child").next();
    parent.next();
    assert.equal(parent.stream("child").next(), before);
  });

  it("are spread evenly", () => {
    const random = createRandom(3);
    const counts = new Array<number>(10).fill(0);
    for (let n = 0; n < 100_000; n++) {
      const at = random.below(10);
      counts[at] = (counts[at] ?? 0) + 1;
    }
    assert.ok(
      counts.every((count) => Math.abs(count - 10_000) < 500),
      String(counts),
    );
  });
});

describe("the clock", () => {
  it("keeps the order of time, and of making where times are equal", () => {
    const clock = createClock(100);
    const order: string[] = [];
    clock.at(300, () => order.push("c"));
    clock.at(200, () => order.push("a"));
    const gone = clock.at(250, () => order.push("never"));
    clock.at(200, () => {
      order.push("b");
      clock.at(50, () => order.push("at once"));
    });
    clock.cancel(gone);
    while (clock.step());
    assert.deepEqual(order, ["a", "b", "at once", "c"]);
    assert.equal(clock.now(), 300);
  });
});

describe("a link", () => {
  it("without faults delivers everything, in order, after its delay", () => {
    const { arrived, drops } = through({ delayNanos: 5000 });
    assert.equal(drops.length, 0);
    assert.ok(arrived.every(({ number, nanos }, n) => number === n && nanos === n * 1e6 + 5000));
  });

  it("loses, duplicates, corrupts and holds back as often as it was told to", () => {
    const reorderNanos = 5e6;
    const options = { loss: 0.1, duplicate: 0.05, corrupt: 0.02, reorder: 0.03, reorderNanos };
    const { count } = through(options);
    const isNear = (is: number, share: number) =>
      assert.ok(Math.abs(is - share * PACKETS) < 0.2 * share * PACKETS, `${is} for ${share}`);
    isNear(count.dropped, 0.1);
    isNear(count.duplicated, 0.9 * 0.05);
    isNear(count.corrupted, 0.945 * 0.02);
    isNear(count.reordered, 0.945 * 0.03);
  });

  it("loses in bursts of the length that the model says", () => {
    const { drops, arrived } = through({ burst: { enter: 0.01, leave: 0.25, nanosMax: 1e12 } });
    const bursts = arrived.filter(
      ({ number }, n) => n > 0 && number - 1 !== arrived[n - 1]?.number,
    );
    assert.ok(Math.abs(drops.length / bursts.length - 4) < 1, `${drops.length} ${bursts.length}`);
  });

  it("sends at its rate, and drops what does not fit into the queue", () => {
    const bytes = packet(0).length;
    const bitsPerSecond = 8e6;
    const options = { bitsPerSecond, queueBytes: 10 * bytes };
    const { arrived, drops } = through(options, 100, 0);
    assert.equal(arrived.length, 10);
    assert.ok(drops.length === 90 && drops.every((why) => why === "queue"));
    assert.ok(arrived.every(({ nanos }, n) => nanos === (n + 1) * bytes * 1000));
  });

  it("marks instead of dropping when the queue is longer than that", () => {
    const options = { bitsPerSecond: 8e6, markBytes: 5 * packet(0).length };
    const { arrived } = through(options, 20, 0);
    const marked = arrived.filter(({ bytes }) => (bytes[15] ?? 0) % 4 === 3);
    assert.deepEqual(
      marked.map((one) => one.number),
      [...Array(14).keys()].map((n) => n + 6),
    );
    assert.ok(arrived.slice(0, 6).every(({ bytes }) => isEcnCapable(bytes)));
    assert.ok(arrived.every(({ bytes }) => onesSum(bytes.subarray(14, 34)) === 0xffff));
  });

  it("keeps the order under jitter unless it was told not to", () => {
    const jitter = { jitterNanos: 5e6 };
    const numbers = (options: LinkOptions) => through(options).arrived.map((one) => one.number);
    const sorted = [...Array(PACKETS).keys()];
    assert.deepEqual(numbers(jitter), sorted);
    const mixed = numbers({ ...jitter, jitterReorders: true });
    assert.notDeepEqual(mixed, sorted);
    assert.deepEqual(
      mixed.sort((a, b) => a - b),
      sorted,
    );
  });

  it("drops what is larger than its MTU", () => {
    assert.deepEqual(through({ mtu: 139 }, 1).drops, ["mtu"]);
    assert.deepEqual(through({ mtu: 140 }, 1).drops, []);
  });
});
