// How much one TCP connection carries over veth at an MTU of 1500: exasock against Linux's TCP,
// with and without segmentation offload. All take turns in one run; only ratios count.

import { stream } from "../src/lab/iperf3.ts";
import { Network } from "../src/lab/network.ts";
import { accelerated, control, status } from "../test/support/exasock.ts";
import { median, type Section } from "./report.ts";

const ROUNDS = 5;
const SECONDS = 2;
const WARM_UP_SECONDS = 1;
const SERVER_CPU = 0;
const CLIENT_CPU = 1;
const KERNEL_RATIO_MAX = 1;
const GIGA = 1e9;
const FIRST_PORT = 5201;

type Wrap = (command: readonly string[]) => readonly string[];

const plain: Wrap = (command) => command;
const fast: Wrap = (command) => accelerated(command, ["--require"]);

interface Contender {
  name: string;
  network: Network;
  server: Wrap;
  client: Wrap;
}

/** Each contender has a port of its own, which no connection of another way still occupies. */
function play({ network, server, client }: Contender, port: number): Promise<number> {
  const pinned = (cpu: number, wrap: Wrap): Wrap => {
    return (command) => ["taskset", "-c", String(cpu), ...wrap(command)];
  };
  return stream({
    server: network.host("left"),
    client: network.host("right"),
    port,
    seconds: SECONDS,
    warmUpSeconds: WARM_UP_SECONDS,
    options: [],
    wrapServer: pinned(SERVER_CPU, server),
    wrapClient: pinned(CLIENT_CPU, client),
  });
}

/** Fails unless the accelerated rounds went through the stack. */
async function assertBypassed(network: Network): Promise<void> {
  for (const name of ["left", "right"]) {
    const counters = (await status(network.host(name)))?.counters ?? {};
    const segments = (counters.rxSegments ?? 0) + (counters.txSegments ?? 0);
    if (segments < 10_000) throw new Error(`the stack of ${name} had only ${segments} segments`);
  }
}

export async function measureBulk(): Promise<Section> {
  await using exasock = await Network.create({ offloads: "checksums" });
  await using alone = await Network.create({ offloads: "checksums" });
  await using offloaded = await Network.create();
  for (const side of ["left", "right"]) {
    const host = exasock.host(side);
    await control(host, "up", host.interfaceName);
  }
  const contenders: Contender[] = [
    { name: "exasock at both ends", network: exasock, server: fast, client: fast },
    { name: "exasock to kernel", network: exasock, server: plain, client: fast },
    { name: "kernel to exasock", network: exasock, server: fast, client: plain },
    { name: "kernel, segmentation offload off", network: alone, server: plain, client: plain },
    { name: "kernel, segmentation offload on", network: offloaded, server: plain, client: plain },
  ];
  const rates = new Map<string, number[]>(contenders.map(({ name }) => [name, []]));
  for (let round = 0; round < ROUNDS; round++) {
    for (const [index, contender] of contenders.entries()) {
      process.stderr.write(`bulk: round ${round + 1} of ${ROUNDS}: ${contender.name}\n`);
      rates.get(contender.name)?.push(await play(contender, FIRST_PORT + index));
    }
  }
  await assertBypassed(exasock);
  const rate = (name: string) => median(rates.get(name) ?? []);
  const ratio = (kernel: string) => rate(kernel) / rate("exasock at both ends");
  return {
    title: "Bulk transfer by one TCP connection over veth, MTU 1500",
    method: [
      `iperf3, ${ROUNDS} rounds of ${SECONDS} s after ${WARM_UP_SECONDS} s, taking turns; medians.`,
      `Receiver on CPU ${SERVER_CPU}, sender on CPU ${CLIENT_CPU}.`,
    ],
    figures: [
      ...contenders.map(({ name }) => ({ name, value: rate(name) / GIGA, unit: "Gbit/s" })),
      {
        name: "kernel, offload off / exasock",
        value: ratio("kernel, segmentation offload off"),
        unit: "x",
        limit: KERNEL_RATIO_MAX,
      },
      {
        name: "kernel, offload on / exasock",
        value: ratio("kernel, segmentation offload on"),
        unit: "x",
      },
    ],
  };
}
