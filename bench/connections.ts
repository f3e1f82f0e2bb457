// How many TCP connections a second are opened, accepted and closed, exasock against the kernel;
// see connections.c. All take turns in one run; only ratios count.

import { Network } from "../src/lab/network.ts";
import { compileProgram } from "../test/support/compile.ts";
import { accelerated, control, status } from "../test/support/exasock.ts";
import { median, type Section } from "./report.ts";

const ROUNDS = 5;
const SECONDS = 1;
const BATCHES = [1, 16];
const PORT = 6000;
const SERVER_CPU = 0;
const CLIENT_CPU = 1;
const KERNEL_RATIO_MAX = 1;

type Wrap = (command: readonly string[]) => readonly string[];

/** Connections per second. */
async function play(network: Network, wrap: Wrap, batch: number): Promise<number> {
  const program = await compileProgram("bench/connections.c");
  const [server, client] = [network.host("left"), network.host("right")];
  const where = [server.address, String(PORT)];
  const pinned = (cpu: number, command: string[]) => {
    return ["taskset", "-c", String(cpu), ...wrap([program, ...command])];
  };
  await using serving = server.start(pinned(SERVER_CPU, ["serve", ...where]));
  await serving.waitForOutput("ready\n");
  const ask = ["rate", ...where, String(SECONDS), String(batch)];
  return Number((await client.run(pinned(CLIENT_CPU, ask))).stdout);
}

export async function measureConnections(): Promise<Section> {
  await using kernel = await Network.create();
  await using exasock = await Network.create();
  for (const side of ["left", "right"]) {
    const host = exasock.host(side);
    await control(host, "up", host.interfaceName);
  }
  const contenders: [string, Network, Wrap][] = [
    ["kernel", kernel, (command) => command],
    ["exasock", exasock, (command) => accelerated(command, ["--require"])],
  ];
  const rates = new Map<string, number[]>();
  for (let round = 0; round < ROUNDS; round++) {
    for (const batch of BATCHES) {
      for (const [name, network, wrap] of contenders) {
        process.stderr.write(`connections: round ${round + 1} of ${ROUNDS}: ${name}, ${batch}\n`);
        const key = `${name}, ${batch} at a time`;
        rates.set(key, [...(rates.get(key) ?? []), await play(network, wrap, batch)]);
      }
    }
  }
  const counters = (await status(exasock.host("left")))?.counters ?? {};
  if (!counters.tcpPassiveOpens) throw new Error("the stack accepted no connection");
  const rate = (name: string, batch: number) => {
    return median(rates.get(`${name}, ${batch} at a time`) ?? []);
  };
  return {
    title: "TCP connections opened, accepted and closed",
    method: [
      `bench/connections.c, ${ROUNDS} rounds of ${SECONDS} s, taking turns; medians. The server closes`,
      `first. Server on CPU ${SERVER_CPU}, client on CPU ${CLIENT_CPU}.`,
    ],
    figures: [
      ...[...rates].map(([name, list]) => ({ name, value: median(list), unit: "1/s" })),
      ...BATCHES.map((batch) => ({
        name: `kernel / exasock, ${batch} at a time`,
        value: rate("kernel", batch) / rate("exasock", batch),
        unit: "x",
        limit: KERNEL_RATIO_MAX,
      })),
    ],
  };
}
