// Streams between the stack and Linux's own TCP arrive whole and in order over cables that lose and
// reorder. `npm run transfers` does the same with a GiB each.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Network } from "../../src/lab/network.ts";
import { control } from "../support/exasock.ts";
import { skipWithoutRoot } from "../support/privilege.ts";
import { assertFramesConserved } from "../support/proof.ts";
import { DIRECTIONS, TRANSFER_CABLES, transfer } from "../support/transfers.ts";

const MIB = 1 << 20;
const LIMIT_MILLIS = 60_000;
const SEGMENT_BYTES = 1500;
/** Where losses are many the rate is small. */
const BYTES = new Map([["5 % loss", 2 * MIB]]);
const BYTES_OTHERWISE = 16 * MIB;

describe("a stream", { skip: skipWithoutRoot }, () => {
  let network: Network;

  before(async () => {
    network = await Network.create({ impairment: {} });
    const left = network.host("left");
    await control(left, "up", left.interfaceName);
  });

  after(async () => {
    await using _network = network;
    await assertFramesConserved(network.host("left"));
  });

  for (const [name, cable] of TRANSFER_CABLES) {
    for (const direction of DIRECTIONS) {
      const words = direction === "from left" ? "to Linux's TCP" : "from Linux's TCP";
      test(`${words} is whole with ${name}`, async () => {
        const bytes = BYTES.get(name) ?? BYTES_OTHERWISE;
        const done = await transfer({
          ...{ network, direction, cable, bytes },
          isAccelerated: true,
          limitMillis: LIMIT_MILLIS,
        });
        assert.match(done.sent, new RegExp(`^${bytes} `));
        assert.equal(done.received, done.sent);
        assert.ok(done.segments > bytes / SEGMENT_BYTES, `${done.segments} segments by the stack`);
        assert.equal(done.kernelSegments, 0, "segments by the kernel's TCP");
        const { forth, back } = done.cable;
        if (cable.loss) assert.ok(forth.lost + back.lost > 0, "the cable lost nothing");
        if (cable.reorder) assert.ok(forth.reordered + back.reordered > 0, "nothing overtook");
      });
    }
  }
});
