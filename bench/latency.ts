// One-way latency of small datagrams over veth: spinning kernel sockets, exasock, raw AF_XDP. All
// take turns in one run on the same two CPUs, because a machine's speed differs from minute to
// minute; only ratios count.

import type { Host } from "../src/lab/network.ts";
import { Network } from "../src/lab/network.ts";
import { compileProgram } from "../test/support/compile.ts";
import { accelerated, control, status } from "../test/support/exasock.ts";
import { median, type Section } from "./report.ts";

const PORT = 11111;
const MESSAGE_BYTES = 64;
const SERVER_CPU = 0;
const CLIENT_CPU = 1;
const PERCENTILES = ["50.000", "99.000", "99.900"] as const;
const RAW_ROUND_TRIPS = 200_000;

const KERNEL_RATIO_MAX = 0.5;
const RAW_RATIO_MAX = 1.25;

/** One-way latency in microseconds. */
interface Latency {
  median: number;
  p99: number;
  p999: number;
}

interface Contender {
  name: string;
  measure: () => Promise<Latency>;
}

export interface LatencyOptions {
  rounds: number;
  seconds: number;
}

function pinned(cpu: number, command: readonly string[]): string[] {
  return ["taskset", "-c", String(cpu), ...command];
}

/** A ping-pong of sockperf between two hosts; `wrap` makes it run under exasock or not. */
async function sockperf(
  network: Network,
  seconds: number,
  more: readonly string[],
  wrap: (command: readonly string[]) => string[],
): Promise<Latency> {
  const [left, right] = [network.host("left"), network.host("right")];
  const target = ["-i", left.address, "-p", String(PORT), ...more];
  const serve = wrap(["sockperf", "server", ...target]);
  await using _server = left.start(pinned(SERVER_CPU, serve));
  await left.waitForUdpPort(PORT);
  const ask = ["sockperf", "ping-pong", ...target, "-m", String(MESSAGE_BYTES)];
  const command = wrap([...ask, "-t", String(seconds), "--pre-warmup-wait", "1"]);
  const { stdout } = await right.run(pinned(CLIENT_CPU, command));
  const [p50, p99, p999] = PERCENTILES.map((share) => {
    const line = new RegExp(`percentile ${share} = +([0-9.]+)`).exec(stdout);
    if (!line) throw new Error(`sockperf printed no percentile ${share}: ${stdout}`);
    return Number(line[1]);
  });
  return { median: p50 ?? 0, p99: p99 ?? 0, p999: p999 ?? 0 };
}

async function rawXsk(network: Network): Promise<Latency> {
  const program = await compileProgram("bench/raw-xsk.c", ["-O2", "-lbpf"]);
  const command = (host: Host, role: string, cpu: number) => {
    return host.start([program, host.interfaceName, role, String(RAW_ROUND_TRIPS), String(cpu)]);
  };
  await using server = command(network.host("left"), "server", SERVER_CPU);
  await server.waitForOutput("ready");
  await using client = command(network.host("right"), "client", CLIENT_CPU);
  const { stdout } = await client.waitForSuccess();
  const sorted = stdout
    .trim()
    .split("\n")
    .map(Number)
    .sort((a, b) => a - b);
  const at = (share: number) => (sorted[Math.floor(sorted.length * share)] ?? Number.NaN) / 1000;
  return { median: at(0.5), p99: at(0.99), p999: at(0.999) };
}

/** Fails unless the accelerated rounds went through the stack. */
async function assertBypassed(network: Network, before: number): Promise<number> {
  const now = await status(network.host("left"));
  const received = now?.counters.rxDatagrams ?? 0;
  if (received < before + 1000) throw new Error("the accelerated round did not use the stack");
  return received;
}

export async function measureLatency({ rounds, seconds }: LatencyOptions): Promise<Section> {
  await using kernel = await Network.create();
  await using exasock = await Network.create();
  await using raw = await Network.create();
  const plain = (command: readonly string[]) => [...command];
  const spinning = (command: readonly string[]) => accelerated(command, ["--wait=spin"]);
  const contenders: Contender[] = [
    { name: "kernel, spinning", measure: () => sockperf(kernel, seconds, ["--nonblocked"], plain) },
    { name: "kernel, blocking", measure: () => sockperf(kernel, seconds, [], plain) },
    { name: "exasock, spinning", measure: () => sockperf(exasock, seconds, [], spinning) },
    {
      name: "exasock, non-blocking calls",
      measure: () => sockperf(exasock, seconds, ["--nonblocked"], spinning),
    },
    { name: "raw AF_XDP", measure: () => rawXsk(raw) },
  ];
  const results = new Map<string, Latency[]>(contenders.map(({ name }) => [name, []]));
  for (const side of ["left", "right"]) {
    const host = exasock.host(side);
    await control(host, "up", host.interfaceName);
  }
  let received = 0;
  for (let round = 0; round < rounds; round++) {
    for (const { name, measure } of contenders) {
      process.stderr.write(`latency: round ${round + 1} of ${rounds}: ${name}\n`);
      results.get(name)?.push(await measure());
      if (name.startsWith("exasock")) received = await assertBypassed(exasock, received);
    }
  }
  return section(results, rounds, seconds);
}

function section(results: Map<string, Latency[]>, rounds: number, seconds: number): Section {
  const of = (name: string, field: keyof Latency) => {
    return median((results.get(name) ?? []).map((latency) => latency[field]));
  };
  const figures = [...results.keys()].flatMap((name) => [
    { name: `${name}: median`, value: of(name, "median"), unit: "us" },
    { name: `${name}: 99 %`, value: of(name, "p99"), unit: "us" },
    { name: `${name}: 99.9 %`, value: of(name, "p999"), unit: "us" },
  ]);
  const best = of("exasock, spinning", "median");
  const ratio = (name: string) => best / of(name, "median");
  return {
    title: `One-way latency of ${MESSAGE_BYTES}-byte UDP datagrams over veth`,
    method: [
      `sockperf ping-pong, ${rounds} rounds of ${seconds} s, taking turns; medians of the rounds.`,
      `Server on CPU ${SERVER_CPU}, client on CPU ${CLIENT_CPU}. The kernel spins by --nonblocked,`,
      "exasock by --wait=spin. Raw AF_XDP: bench/raw-xsk.c, frames of the same length.",
    ],
    figures: [
      ...figures,
      {
        name: "exasock / spinning kernel sockets",
        value: ratio("kernel, spinning"),
        unit: "x",
        limit: KERNEL_RATIO_MAX,
      },
      {
        name: "exasock / raw AF_XDP",
        value: ratio("raw AF_XDP"),
        unit: "x",
        limit: RAW_RATIO_MAX,
      },
    ],
  };
}
