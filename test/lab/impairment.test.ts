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
/** Datagrams sent in one go, and the time that each has on average. */
const BURST = 8;
const MICROS = 20;
const FRAMES_PER_SECOND_MIN = 50_000;

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
  /** What the sender took. */
  seconds: number;
}

function isBalanced(way: WayCounters): boolean {
  return way.received + way.duplicated === way.lost + way.overflowed + way.sent + way.waiting;
}

/** Sends numbered datagrams over a cable that was set like this. */
async function pass(impairment: Impairment, { count = COUNT, micros = MICROS } = {}) {
  const network = await openNetwork();
  const [left, right] = [network.host("left"), network.host("right")];
  await network.cable().set({});
  // Nobody asks for a MAC address while frames are being counted.
  await left.run(["ping", "-c", "1", right.address]);
  await using receiver = right.start([PYTHON, SCRIPT, "receive", right.address]);
  await receiver.waitForOutput("ready\n");
  await network.cable().set(impairment);
  const numbers = [count, BURST, micros].map(String);
  const { stdout } = await left.run([PYTHON, SCRIPT, "send", right.address, ...numbers]);
  const counters = await network.cable().counters();
  assert.ok(isBalanced(counters.forth) && isBalanced(counters.back), JSON.stringify(counters));
  const arrived = counters.forth.sent + counters.forth.waiting;
  let received: number[] = [];
  await until("all that were sent", async () => {
    receiver.write("\n");
    const lines = receiver.stdout.split("\n").length;
    await receiver.waitFor("numbers", () => receiver.stdout.split("\n").length > lines);
    received = (receiver.stdout.split("\n").at(-2) ?? "").split(" ").map(Number);
    // Other frames may have passed: a neighbour's question, for one.
    return received.length >= arrived - 2;
  });
  const passage: Passage = { numbers: received, counters, seconds: Number(stdout) };
  return passage;
}

const options = { skip: skipWithoutRoot };

test("all frames pass in their order over a cable that is not set", options, async () => {
  const { numbers } = await pass({});
  assert.deepEqual(
    numbers,
    Array.from({ length: COUNT }, (_, index) => index),
  );
});

test(`${FRAMES_PER_SECOND_MIN} frames a second pass`, options, async () => {
  const count = 2 * FRAMES_PER_SECOND_MIN;
  const { numbers, seconds, counters } = await pass({}, { count, micros: 10 });
  assert.equal(numbers.length, count);
  assert.equal(counters.forth.overflowed, 0);
  assert.ok(count / seconds > FRAMES_PER_SECOND_MIN, `${count / seconds} frames/s`);
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
  assert.ok(Math.abs(doubles - counters.forth.duplicated) <= 2);
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
  // 242 bytes every 20 µs are 97 Mbit/s.
  const { numbers, counters } = await pass({ rateBits: 20e6, queueBytes: 20_000 });
  assert.ok(counters.forth.overflowed > 0, JSON.stringify(counters));
  const share = numbers.length / COUNT;
  assert.ok(share > 0.15 && share < 0.3, `${share} of the frames came`);
  assert.deepEqual(
    numbers,
    numbers.toSorted((a, b) => a - b),
  );
});
