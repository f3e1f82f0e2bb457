// `npm run transfers [-- MIB]`: streams of a GiB each way between the stack and Linux's own TCP,
// over cables that lose and reorder. With EXASOCK_ORACLE_ONLY set, Linux's TCP has both ends. Exit
// status 1 when one does not arrive whole.

import { formatTable } from "../src/cli/output.ts";
import type { Impairment } from "../src/lab/impairment.ts";
import { Network, removeLeftOverNamespaces } from "../src/lab/network.ts";
import { control } from "../test/support/exasock.ts";
import {
  DIRECTIONS,
  type Direction,
  TRANSFER_CABLES,
  transfer,
} from "../test/support/transfers.ts";

const MIB = 1 << 20;
const MIB_DEFAULT = 1024;
const LIMIT_MILLIS = 45 * 60_000;
const SLOW_LOSS = 0.05;

const isAccelerated = process.env.EXASOCK_ORACLE_ONLY === undefined;

/** One stream over a network of its own: a row of the table. */
async function carry(
  [name, cable]: readonly [string, Impairment],
  direction: Direction,
  bytes: number,
): Promise<string[]> {
  await using network = await Network.create({ impairment: {} });
  const left = network.host("left");
  if (isAccelerated) await control(left, "up", left.interfaceName);
  const limits = { isAccelerated, limitMillis: LIMIT_MILLIS };
  const done = await transfer({ network, direction, cable, bytes, ...limits });
  const isWhole = done.sent.startsWith(`${bytes} `) && done.received === done.sent;
  const isBypassed = !isAccelerated || (done.kernelSegments === 0 && done.segments > 0);
  const { forth, back } = done.cable;
  const row = [
    name,
    direction === "from left" ? "to Linux" : "from Linux",
    `${done.seconds.toFixed(1)} s`,
    `${((bytes * 8) / done.seconds / 1e6).toFixed(1)} Mbit/s`,
    `${forth.lost + back.lost} lost, ${forth.reordered + back.reordered} late`,
    `${done.retransmits} sent again`,
    isWhole ? "equal" : "DIFFERENT",
    isBypassed ? "" : "NOT BY THE STACK",
  ];
  console.error(row.join("  "));
  return row;
}

async function main(argument: string | undefined): Promise<number> {
  const bytes = Number(argument ?? MIB_DEFAULT) * MIB;
  removeLeftOverNamespaces();
  const rows: string[][] = [];
  const waiting: Promise<string[]>[] = [];
  const isSlow = (cable: Impairment) => (cable.loss ?? 0) >= SLOW_LOSS;
  // The slow ones spend their time waiting: they go at the same time as the others.
  for (const one of TRANSFER_CABLES.toSorted((a, b) => (b[1].loss ?? 0) - (a[1].loss ?? 0))) {
    for (const direction of DIRECTIONS) {
      const row = carry(one, direction, bytes);
      if (isSlow(one[1])) waiting.push(row);
      else rows.push(await row);
    }
  }
  rows.push(...(await Promise.all(waiting)));
  console.log(`${formatTable(rows).join("\n")}\n`);
  return rows.flat().some((cell) => /DIFFERENT|NOT BY/.test(cell)) ? 1 : 0;
}

process.exitCode = await main(process.argv[2]);
