// Streams between the stack and Linux's own TCP arrive whole and in order over cables that lose and
// reorder. `npm run transfers` does the same with a GiB each.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { Impairment } from "../../src/lab/impairment.ts";
import { Network } from "../../src/lab/network.ts";
import { control } from "../support/exasock.ts";
import { skipWithoutRoot } from "../support/privilege.ts";
import { assertFramesConserved } from "../support/proof.ts";
import { DIRECTIONS, type Direction, TRANSFER_CABLES, transfer } from "../support/transfers.ts";

const MIB = 1 << 20;
const LIMIT_MILLIS = 60_000;
/** Where losses are many the rate is small. */
const BYTES = new Map([["5 % loss", 2 * MIB]]);
const BYTES_OTHERWISE = 16 * MIB;
const BYTES_OF_MORE = 4 * MIB;

/** What else happens on the way, and what a link with large frames does. */
const MORE_CABLES: readonly (readonly [string, Impairment])[] = [
  ["5 % duplicates", { seed: 21, duplicate: 0.05 }],
  ["varying delay", { seed: 22, delayMicros: 2000, jitterMicros: 1000 }],
  ["a narrow link", { seed: 23, rateBits: 100e6, queueBytes: 60_000, delayMicros: 2000 }],
  [
    "all of it",
    { seed: 24, loss: 0.02, duplicate: 0.02, reorder: 0.05, jitterMicros: 300, rateBits: 500e6 },
  ],
];
const JUMBO_MTU = 3000;
const JUMBO_CABLES: readonly (readonly [string, Impairment])[] = [
  ["large frames", {}],
  ["large frames and 1 % loss", { seed: 31, loss: 0.01 }],
];

function carryAll(
  title: string,
  mtu: number,
  cables: readonly (readonly [string, Impairment])[],
  bytesOf: (name: string) => number,
): void {
  describe(title, { skip: skipWithoutRoot }, () => {
    let network: Network;

    before(async () => {
      network = await Network.create({ impairment: {}, mtu });
      const left = network.host("left");
      await control(left, "up", left.interfaceName);
    });

    after(async () => {
      await using _network = network;
      await assertFramesConserved(network.host("left"));
    });

    for (const [name, cable] of cables) {
      for (const direction of DIRECTIONS) {
        const words = direction === "from left" ? "to Linux's TCP" : "from Linux's TCP";
        test(`${words} is whole with ${name}`, () =>
          carry(network, direction, cable, bytesOf(name), mtu));
      }
    }
  });
}

async function carry(
  network: Network,
  direction: Direction,
  cable: Impairment,
  bytes: number,
  mtu: number,
): Promise<void> {
  const limits = { isAccelerated: true, limitMillis: LIMIT_MILLIS };
  const done = await transfer({ network, direction, cable, bytes, ...limits });
  assert.match(done.sent, new RegExp(`^${bytes} `));
  assert.equal(done.received, done.sent);
  assert.ok(done.segments > bytes / mtu, `${done.segments} segments by the stack`);
  assert.equal(done.kernelSegments, 0, "segments by the kernel's TCP");
  const { forth, back } = done.cable;
  if (cable.loss) assert.ok(forth.lost + back.lost > 0, "the cable lost nothing");
  if (cable.duplicate) assert.ok(forth.duplicated + back.duplicated > 0, "nothing came twice");
  if (cable.reorder) assert.ok(forth.reordered + back.reordered > 0, "nothing was overtaken");
}

carryAll("a stream", 1500, TRANSFER_CABLES, (name) => BYTES.get(name) ?? BYTES_OTHERWISE);
carryAll("a shorter stream", 1500, MORE_CABLES, () => BYTES_OF_MORE);
carryAll("a stream in large frames", JUMBO_MTU, JUMBO_CABLES, () => BYTES_OF_MORE);
