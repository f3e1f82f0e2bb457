// The bad cable does to frames what it was told, and counts it.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { resolve } from "node:path";
import type { CableCounters, Impairment, WayCounters } from "../../src/lab/impairment.ts";
import { Network } from "../../src/lab/network.ts";
import { until } from "../../src/lab/program.ts";
import { skipWithoutRoot } from "../support/privilege.ts";

const PYTHON = "/usr/bin/python3";
const SCRIPT = resolve(import.meta.dirname, "numbered.py");
const COUNT = 20_000;
/** Datagrams sent in one go: fewer than fit into any of the kernel's queues. */
const BURST = 200;
const FRAME_BITS = (200 + 42) * 8;
const FRAMES_PER_SECOND_MIN = 50_000;
const OTHER_FRAMES_MAX = 5;

let opened: Promise<Network> | null = null;

/** One network for all tests. */
function openNetwork(): Promise<Network> {
  opened ??= Network.create({ impairment: {} });
  return opened;
}

after(async () => (await opened)?.[Symbol.asyncDispose]());

interface Passage {
  /** The numbers of the datagrams that came, in their order. */
  numbers: number[];
  counters: CableCounters;
  /** From the first to the last of them. */
  seconds: number;
}

function isBalanced(way: WayCounters): boolean {
  return way.received + way.duplicated === way.lost + way.overflowed + way.sent + way.waiting;
}

/** Sends numbered datagrams over a cable that was set like this, a burst at a time. */
async function pass(impairment: Impairment, count = COUNT): Promise<Passage> {
  const network = await openNetwork();
  const cable = network.cable();
  const [left, right] = [network.host("left"), network.host("right")];
  await cable.set({});
  // Nobody asks for a MAC address while frames are being counted.
  await left.run(["ping", "-c", "1", right.address]);
  await using receiver = right.start([PYTHON, SCRIPT, "receive", right.address]);
  await receiver.waitForOutput("ready\n");
  await using sender = left.start([PYTHON, SCRIPT, "send", right.address]);
  await cable.set(impairment);
  const started = performance.now();
  for (let first = 0; first < count; first += BURST) {
    sender.write(`${first} ${first + BURST}\n`);
    await until("the burst to arrive at the cable", async () => {
      return (await cable.counters()).forth.received >= first + BURST;
    });
  }
  let counters = await cable.counters();
  await until("the cable to have sent all", async () => {
    counters = await cable.counters();
    return counters.forth.waiting === 0;
  });
  const seconds = (performance.now() - started) / 1000;
  assert.ok(isBalanced(counters.forth) && isBalanced(counters.back), JSON.stringify(counters));
  await until("all that were sent", async () => {
    receiver.write("\n");
    const lines = receiver.stdout.split("\n").length;
    await receiver.waitFor("a count", () => receiver.stdout.split("\n").length > lines);
    // Other frames may have passed: a neighbour's question, for one.
    return Number(receiver.stdout.split("\n").at(-2)) >= counters.forth.sent - OTHER_FRAMES_MAX;
  });
  receiver.endInput();
  const { stdout } = await receiver.waitForSuccess();
  const numbers = (stdout.trimEnd().split("\n").at(-1) ?? "").split(" ").map(Number);
  return { numbers, counters, seconds };
}

const options = { skip: skipWithoutRoot };

test("all frames pass in their order over a cable that is not set", options, async () => {
  const { numbers } = await pass({});
  assert.deepEqual(
    numbers,
    Array.from({ length: COUNT }, (_, index) => index),
  );
});

test(`a processor forwards ${FRAMES_PER_SECOND_MIN} frames a second`, options, async () => {
  const cable = (await openNetwork()).cable();
  const before = cable.processorSeconds;
  const { counters } = await pass({}, 2 * COUNT);
  const seconds = cable.processorSeconds - before;
  assert.equal(counters.forth.overflowed, 0);
  const rate = counters.forth.sent / seconds;
  assert.ok(rate > FRAMES_PER_SECOND_MIN, `${rate} frames/s`);
});

test(
  "the share that was asked for is lost, with a seed always the same frames",
  options,
  async () => {
    const first = await pass({ seed: 7, loss: 0.05 });
    const lost = COUNT - first.numbers.length;
    assert.ok(lost > COUNT * 0.04 && lost < COUNT * 0.06, `${lost} of ${COUNT}`);
    const again = await pass({ seed: 7, loss: 0.05 });
    assert.deepEqual(again.numbers, first.numbers);
    const other = await pass({ seed: 8, loss: 0.05 });
    assert.notDeepEqual(other.numbers, first.numbers);
  },
);

test("frames come twice", options, async () => {
  const { numbers, counters } = await pass({ duplicate: 0.1 });
  const doubles = numbers.length - new Set(numbers).size;
  assert.equal(new Set(numbers).size, COUNT);
  assert.ok(doubles > COUNT * 0.08 && doubles < COUNT * 0.12, `${doubles} of ${COUNT}`);
  assert.ok(Math.abs(doubles - counters.forth.duplicated) <= OTHER_FRAMES_MAX);
});

test("frames are overtaken", options, async () => {
  const { numbers } = await pass({ reorder: 0.1 });
  assert.equal(new Set(numbers).size, COUNT);
  let highest = -1;
  const late = numbers.filter((number) => {
    const isLate = number < highest;
    highest = Math.max(highest, number);
    return isLate;
  });
  assert.ok(late.length > COUNT * 0.08 && late.length < COUNT * 0.12, `${late.length} were late`);
});

test("a round trip takes longer by both ways' delays", options, async () => {
  const network = await openNetwork();
  const [left, right] = [network.host("left"), network.host("right")];
  await network.cable().set({ delayMicros: 20_000 });
  const { stdout } = await left.run(["ping", "-c", "3", "-i", "0.1", right.address]);
  const least = Number(/min\/avg\/max\/mdev = ([0-9.]+)/.exec(stdout)?.[1]);
  assert.ok(least >= 40 && least < 50, stdout);
});

test("what a limited rate's queue can't take is dropped", options, async () => {
  const [rateBits, queueBytes] = [20e6, 20_000];
  const { numbers, counters, seconds } = await pass({ rateBits, queueBytes });
  assert.ok(counters.forth.overflowed > 0, JSON.stringify(counters));
  const bitsMax = seconds * rateBits + queueBytes * 8;
  assert.ok(numbers.length * FRAME_BITS < bitsMax, `${numbers.length} frames in ${seconds} s`);
  assert.deepEqual(
    numbers,
    numbers.toSorted((a, b) => a - b),
  );
});
