// What waiting costs: idle programs, sleeping against blocking kernel sockets, adaptive against
// spinning, and more spinning threads than CPUs. Contenders take turns in one run.

import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { type Host, Network } from "../src/lab/network.ts";
import { pingPong } from "../src/lab/sockperf.ts";
import { compileProgram } from "../test/support/compile.ts";
import { startEcho } from "../test/support/echo.ts";
import { accelerated, control } from "../test/support/exasock.ts";
import { type Figure, median, type Section } from "./report.ts";

const IDLE_SECONDS = 3;
const IDLE_PERCENT_MAX = 0.5;
const ROUNDS = 5;
const SECONDS = 1;
const PAIRS_SECONDS = 0.5;
const MESSAGE_BYTES = 64;
const ADAPTIVE_RATIO_MAX = 1.1;

type Mode = "kernel" | "sleep" | "adaptive" | "spin";

interface Networks {
  kernel: Network;
  exasock: Network;
}

/** Which network a mode is measured in, and how a command runs in it. */
function way(networks: Networks, mode: Mode) {
  const network = mode === "kernel" ? networks.kernel : networks.exasock;
  const wrap = (command: readonly string[]) => {
    return mode === "kernel" ? [...command] : accelerated(command, [`--wait=${mode}`]);
  };
  return { network, wrap };
}

/** Share of a CPU that a program takes that waits for packets which never come. */
async function idle(host: Host, mode: Mode): Promise<Figure> {
  const { program } = await startEcho(host, [`--wait=${mode}`]);
  await using _ends = program;
  const used = () => Number(readFileSync(`/proc/${program.pid}/schedstat`, "utf8").split(" ")[0]);
  const [before, began] = [used(), performance.now()];
  await delay(IDLE_SECONDS * 1000);
  const percent = (used() - before) / 1e4 / (performance.now() - began);
  return { name: `idle, ${mode}`, value: percent, unit: "% CPU", limit: IDLE_PERCENT_MAX };
}

async function latency(networks: Networks, protocol: "UDP" | "TCP"): Promise<Figure[]> {
  const modes: Mode[] = ["kernel", "sleep", "adaptive", "spin"];
  const results = new Map<Mode, number[]>(modes.map((mode) => [mode, []]));
  for (let round = 0; round < ROUNDS; round++) {
    for (const mode of modes) {
      process.stderr.write(`waiting: ${protocol}, round ${round + 1} of ${ROUNDS}: ${mode}\n`);
      const { network, wrap } = way(networks, mode);
      const [server, client] = [network.host("left"), network.host("right")];
      const size = { seconds: SECONDS, messageBytes: MESSAGE_BYTES };
      const found = await pingPong({ protocol, server, client, ...size, options: [], wrap });
      results.get(mode)?.push(found.median);
    }
  }
  const of = (mode: Mode) => median(results.get(mode) ?? []);
  const names = { kernel: "kernel, blocking", sleep: "sleep", adaptive: "adaptive", spin: "spin" };
  const ratio = (a: Mode, b: Mode, limit: number): Figure => {
    return {
      name: `${protocol}: ${names[a]} / ${names[b]}`,
      value: of(a) / of(b),
      unit: "x",
      limit,
    };
  };
  return [
    ...modes.map((mode) => ({ name: `${protocol}: ${names[mode]}`, value: of(mode), unit: "us" })),
    ratio("sleep", "kernel", 1),
    ratio("adaptive", "spin", ADAPTIVE_RATIO_MAX),
  ];
}

interface Crowd {
  name: string;
  pairs: number;
  /** Host of the clients. */
  clients: string;
}

const CROWDS: Crowd[] = [
  { name: "4 threads, over veth", pairs: 2, clients: "right" },
  { name: "8 threads, over veth", pairs: 4, clients: "right" },
  { name: "4 threads, one host", pairs: 2, clients: "left" },
  { name: "8 threads, one host", pairs: 4, clients: "left" },
];
const FIRST_PORT = 7100;

/** Round trips per second of pairs of threads, each waiting for the other. */
async function crowd(networks: Networks, { name, pairs, clients }: Crowd): Promise<Figure[]> {
  const program = await compileProgram("bench/pairs.c");
  const trips = { kernel: [] as number[], adaptive: [] as number[] };
  const base = FIRST_PORT + 2 * ROUNDS * CROWDS.findIndex((one) => one.name === name);
  for (let round = 0; round < ROUNDS; round++) {
    for (const mode of ["kernel", "adaptive"] as const) {
      const { network, wrap } = way(networks, mode);
      const left = network.host("left");
      const where = [left.address, String(base + round), String(pairs)];
      await using server = left.start(wrap([program, "server", ...where]));
      await server.waitForOutput("ready\n");
      const ask = wrap([program, "client", ...where, String(PAIRS_SECONDS)]);
      const { stdout } = await network.host(clients).run(ask);
      trips[mode].push(Number(stdout));
    }
  }
  const [kernel, adaptive] = [median(trips.kernel), median(trips.adaptive)];
  return [
    { name: `${name}: kernel`, value: kernel, unit: "trips/s" },
    { name: `${name}: adaptive`, value: adaptive, unit: "trips/s" },
    { name: `${name}: kernel / adaptive`, value: kernel / adaptive, unit: "x", limit: 1 },
  ];
}

export async function measureWaiting(): Promise<Section> {
  await using kernel = await Network.create();
  await using exasock = await Network.create();
  const networks = { kernel, exasock };
  for (const side of ["left", "right"]) {
    const host = exasock.host(side);
    await control(host, "up", host.interfaceName);
  }
  const figures: Figure[] = [];
  for (const mode of ["sleep", "adaptive"] as const) {
    figures.push(await idle(exasock.host("left"), mode));
  }
  for (const one of CROWDS) figures.push(...(await crowd(networks, one)));
  for (const protocol of ["UDP", "TCP"] as const) {
    figures.push(...(await latency(networks, protocol)));
  }
  return {
    title: "Waiting",
    method: [
      `Idle: test/shim/echo.c in poll() for ${IDLE_SECONDS} s, CPU time by /proc/PID/schedstat.`,
      `Latency: sockperf ping-pong, one way, medians of ${ROUNDS} rounds of ${SECONDS} s taking turns.`,
      `Threads: bench/pairs.c, TCP ping-pong of 64 bytes, medians of ${ROUNDS} rounds of ${PAIRS_SECONDS} s.`,
    ],
    figures,
  };
}
