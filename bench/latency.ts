// One-way latency of small messages over veth: spinning kernel sockets, exasock, raw AF_XDP. All
// take turns in one run on the same two CPUs, because a machine's speed differs from minute to
// minute; only ratios count.

import type { Host } from "../src/lab/network.ts";
import { Network } from "../src/lab/network.ts";
import { type Latency, pingPong } from "../src/lab/sockperf.ts";
import { compileProgram } from "../test/support/compile.ts";
import { accelerated, control, status } from "../test/support/exasock.ts";
import { median, type Section } from "./report.ts";

const MESSAGE_BYTES = 64;
const SERVER_CPU = 0;
const CLIENT_CPU = 1;
const RAW_ROUND_TRIPS = 200_000;

const KERNEL_RATIO_MAX = 0.5;
const RAW_RATIO_MAX = { UDP: 1.25, TCP: 1.35 };

type Protocol = "UDP" | "TCP";

interface Contender {
  name: string;
  measure: () => Promise<Latency>;
}

export interface LatencyOptions {
  protocol: Protocol;
  rounds: number;
  seconds: number;
}

type Wrap = (command: readonly string[]) => readonly string[];

/** sockperf between the two hosts of a network; `wrap` makes it run under exasock or not. */
function play(
  network: Network,
  { protocol, seconds }: LatencyOptions,
  options: readonly string[],
  wrap: Wrap,
) {
  const [server, client] = [network.host("left"), network.host("right")];
  const messageBytes = MESSAGE_BYTES;
  return pingPong({ protocol, server, client, seconds, messageBytes, options, wrap });
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
async function assertBypassed(
  network: Network,
  protocol: Protocol,
  before: number,
): Promise<number> {
  const counters = (await status(network.host("left")))?.counters;
  const received = counters?.[protocol === "TCP" ? "rxSegments" : "rxDatagrams"] ?? 0;
  if (received < before + 1000) throw new Error("the accelerated round did not use the stack");
  return received;
}

export async function measureLatency(options: LatencyOptions): Promise<Section> {
  const { protocol, rounds } = options;
  await using kernel = await Network.create();
  await using exasock = await Network.create();
  await using raw = await Network.create();
  const plain = (command: readonly string[]) => [...command];
  const spinning = (command: readonly string[]) => accelerated(command, ["--wait=spin"]);
  const contenders: Contender[] = [
    { name: "kernel, spinning", measure: () => play(kernel, options, ["--nonblocked"], plain) },
    { name: "exasock, spinning", measure: () => play(exasock, options, [], spinning) },
    {
      name: "exasock, non-blocking calls",
      measure: () => play(exasock, options, ["--nonblocked"], spinning),
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
      process.stderr.write(`${protocol} latency: round ${round + 1} of ${rounds}: ${name}\n`);
      results.get(name)?.push(await measure());
      if (name.startsWith("exasock")) {
        received = await assertBypassed(exasock, protocol, received);
      }
    }
  }
  // Last, because processors that slept are slow for a while.
  results.set("kernel, blocking", [await play(kernel, options, [], plain)]);
  return section(results, options);
}

function section(results: Map<string, Latency[]>, options: LatencyOptions): Section {
  const { protocol, rounds, seconds } = options;
  const of = (name: string, field: keyof Latency) => {
    return median((results.get(name) ?? []).map((latency) => latency[field]));
  };
  const figures = [...results.keys()].flatMap((name) => [
    { name: `${name}: median`, value: of(name, "median"), unit: "us" },
    { name: `${name}: 99 %`, value: of(name, "p99"), unit: "us" },
    { name: `${name}: 99.9 %`, value: of(name, "p999"), unit: "us" },
  ]);
  const ratios = ["exasock, spinning", "exasock, non-blocking calls"].flatMap((name) => {
    const ratio = (other: string) => of(name, "median") / of(other, "median");
    return [
      {
        name: `${name} / kernel, spinning`,
        value: ratio("kernel, spinning"),
        unit: "x",
        limit: KERNEL_RATIO_MAX,
      },
      {
        name: `${name} / raw AF_XDP`,
        value: ratio("raw AF_XDP"),
        unit: "x",
        limit: RAW_RATIO_MAX[protocol],
      },
    ];
  });
  return {
    title: `One-way latency of ${MESSAGE_BYTES}-byte ${protocol} messages over veth`,
    method: [
      `sockperf ping-pong${protocol === "TCP" ? " --tcp" : ""}, ${rounds} rounds of ${seconds} s, taking turns; medians of the rounds.`,
      `Server on CPU ${SERVER_CPU}, client on CPU ${CLIENT_CPU}. The kernel spins by --nonblocked,`,
      "exasock by --wait=spin, once with --nonblocked, too. Raw AF_XDP: bench/raw-xsk.c.",
    ],
    figures: [...figures, ...ratios],
  };
}
