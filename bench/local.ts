// Two programs of one host: latency, bulk transfer, connections, a server under load and wake-ups,
// over 127.0.0.1, accelerated against the kernel. All take turns in one run; only ratios count.

import { stream } from "../src/lab/iperf3.ts";
import { type Host, Network } from "../src/lab/network.ts";
import { compileProgram } from "../test/support/compile.ts";
import { accelerated, control, status } from "../test/support/exasock.ts";
import { type Figure, median, type Section } from "./report.ts";

const ROUNDS = 5;
const SECONDS = 1;
const ADDRESS = "127.0.0.1";
const PING_PONG_PORT = 6389;
const ROUND_TRIPS = { spin: 300_000, block: 30_000 };
const SERVER_CPU = 0;
const CLIENT_CPU = 1;
const REDIS_PORT = 6390;
const REDIS_REQUESTS = 50_000;
const CONNECTIONS_PORT = 6391;
const BULK_PORT = 6392;
const NANOS_PER_MICRO = 1000;
const GIGA = 1e9;

const LATENCY_KERNEL_RATIO_MAX = 0.12;
const CACHE_LINES_MAX = 7;
const BULK_RATIO_MAX = 1 / 2.5;
const RATE_RATIO_MAX = 1 / 2;
const WAKE_UP_RATIO_MAX = 1;

type Wrap = (command: readonly string[]) => readonly string[];

interface World {
  name: string;
  host: Host;
  /** Makes a command run in this world: spinning, sleeping, or as it is by default. */
  spinning: Wrap;
  sleeping: Wrap;
  plain: Wrap;
  /** How bench/ping-pong.c spins here: by itself, or in calls that wait. */
  spinBy: "spin" | "block";
}

const pinned = (cpu: number, wrap: Wrap): Wrap => {
  return (command) => ["taskset", "-c", String(cpu), ...wrap(command)];
};

/** Half of a round trip, in microseconds. */
async function latency(
  { host }: World,
  protocol: "udp" | "tcp",
  wrap: Wrap,
  waiting: "spin" | "block",
): Promise<number> {
  const program = await compileProgram("bench/ping-pong.c", ["-O2"]);
  const port = String(PING_PONG_PORT);
  const command = (role: string) => [program, protocol, role, ADDRESS, port, waiting];
  await using serving = host.start(pinned(SERVER_CPU, wrap)(command("serve")));
  await serving.waitForOutput("ready\n");
  const asking = [...command("ask"), String(ROUND_TRIPS[waiting])];
  return Number((await host.run(pinned(CLIENT_CPU, wrap)(asking))).stdout) / NANOS_PER_MICRO;
}

async function cacheLine(host: Host): Promise<number> {
  const program = await compileProgram("bench/cache-line.c", ["-O2", "-pthread"]);
  return Number((await host.run([program])).stdout) / NANOS_PER_MICRO;
}

function bulk({ host, plain }: World): Promise<number> {
  return stream({
    server: host,
    client: host,
    address: ADDRESS,
    port: BULK_PORT,
    seconds: SECONDS,
    warmUpSeconds: 1,
    options: [],
    wrapServer: pinned(SERVER_CPU, plain),
    wrapClient: pinned(CLIENT_CPU, plain),
  });
}

async function connections({ host, plain }: World): Promise<number> {
  const program = await compileProgram("bench/connections.c");
  const where = [ADDRESS, String(CONNECTIONS_PORT)];
  await using serving = host.start(pinned(SERVER_CPU, plain)([program, "serve", ...where]));
  await serving.waitForOutput("ready\n");
  const ask = [program, "rate", ...where, String(SECONDS), "1"];
  return Number((await host.run(pinned(CLIENT_CPU, plain)(ask))).stdout);
}

async function redis({ host, plain }: World): Promise<number> {
  const where = ["--bind", ADDRESS, "--port", String(REDIS_PORT)];
  const nothing = ["--save", "", "--appendonly", "no", "--protected-mode", "no"];
  const serve = pinned(SERVER_CPU, plain)(["redis-server", ...where, ...nothing]);
  await using _running = host.start(serve);
  await host.waitForTcpPort(REDIS_PORT);
  const target = ["-h", ADDRESS, "-p", String(REDIS_PORT), "-n", String(REDIS_REQUESTS)];
  const ask = pinned(CLIENT_CPU, plain)(["redis-benchmark", ...target, "--csv", "-t", "get"]);
  const { stdout } = await host.run(ask);
  const rate = /"GET","([0-9.]+)"/.exec(stdout);
  if (!rate) throw new Error(`redis-benchmark printed no rate: ${stdout}`);
  return Number(rate[1]);
}

/** What is measured in each world, by the name of its figure. */
const MEASURES: Record<string, (world: World) => Promise<number>> = {
  "UDP one way, spinning": (world) => latency(world, "udp", world.spinning, world.spinBy),
  "TCP one way, spinning": (world) => latency(world, "tcp", world.spinning, world.spinBy),
  "bulk TCP": async (world) => (await bulk(world)) / GIGA,
  "connect, accept, close": connections,
  "redis-benchmark GET": redis,
  "UDP one way, sleeping": (world) => latency(world, "udp", world.sleeping, "block"),
  "TCP one way, sleeping": (world) => latency(world, "tcp", world.sleeping, "block"),
};

const UNITS: Record<string, string> = { "bulk TCP": "Gbit/s" };
const isRate = (name: string) => /bulk|connect|redis/.test(name);
const unitOf = (name: string) => UNITS[name] ?? (isRate(name) ? "1/s" : "us");

function limitOf(name: string): number {
  if (name.endsWith("spinning")) return LATENCY_KERNEL_RATIO_MAX;
  if (name.endsWith("sleeping")) return WAKE_UP_RATIO_MAX;
  return name.startsWith("bulk") ? BULK_RATIO_MAX : RATE_RATIO_MAX;
}

/** Fails unless the accelerated rounds stayed within the region. */
async function assertBypassed(host: Host): Promise<void> {
  const { localDatagrams = 0, localStreamBytes = 0 } = (await status(host))?.counters ?? {};
  if (localDatagrams + localStreamBytes < 1000) {
    throw new Error("the accelerated rounds did not stay within the region");
  }
}

function figuresOf(results: Map<string, number[]>, line: number): Figure[] {
  const of = (world: string, name: string) => median(results.get(`${world}: ${name}`) ?? []);
  return Object.keys(MEASURES).flatMap((name) => {
    const [ours, kernels] = [of("exasock", name), of("kernel", name)];
    const unit = unitOf(name);
    const figures: Figure[] = [
      { name: `${name}: kernel`, value: kernels, unit },
      { name: `${name}: exasock`, value: ours, unit },
    ];
    if (isRate(name)) {
      figures.push({
        name: "kernel / exasock",
        value: kernels / ours,
        unit: "x",
        limit: limitOf(name),
      });
    } else {
      figures.push({
        name: "exasock / kernel",
        value: ours / kernels,
        unit: "x",
        limit: limitOf(name),
      });
    }
    if (name.endsWith("spinning")) {
      const value = ours / line;
      figures.push({ name: "exasock / cache line", value, unit: "x", limit: CACHE_LINES_MAX });
    }
    return figures;
  });
}

export async function measureLocal(names = Object.keys(MEASURES)): Promise<Section> {
  await using kernel = await Network.create();
  await using exasock = await Network.create();
  const host = exasock.host("left");
  await control(host, "up", host.interfaceName);
  const as =
    (...options: string[]): Wrap =>
    (command) =>
      accelerated(command, options);
  const plain: Wrap = (command) => command;
  const worlds: World[] = [
    {
      name: "kernel",
      host: kernel.host("left"),
      spinning: plain,
      sleeping: plain,
      plain,
      spinBy: "spin",
    },
    {
      name: "exasock",
      host,
      spinning: as("--wait=spin"),
      sleeping: as("--wait=sleep"),
      plain: as("--require"),
      spinBy: "block",
    },
  ];
  const results = new Map<string, number[]>();
  const lines: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    lines.push(await cacheLine(host));
    for (const name of names) {
      for (const world of worlds) {
        process.stderr.write(`local: round ${round + 1} of ${ROUNDS}: ${world.name}: ${name}\n`);
        const key = `${world.name}: ${name}`;
        const value = await MEASURES[name]?.(world);
        if (value !== undefined) results.set(key, [...(results.get(key) ?? []), value]);
      }
    }
  }
  await assertBypassed(host);
  const line = median(lines);
  return {
    title: `Two programs of one host, over ${ADDRESS}`,
    method: [
      `${ROUNDS} rounds, taking turns; medians. Server on CPU ${SERVER_CPU}, client on CPU ${CLIENT_CPU}.`,
      "One way: bench/ping-pong.c, 64 bytes, spinning (kernel: MSG_DONTWAIT, exasock: --wait=spin)",
      "and sleeping (exasock: --wait=sleep). iperf3; bench/connections.c; redis-benchmark without",
      "pipelining.",
      "A cache line's way from one CPU to the other: bench/cache-line.c.",
    ],
    figures: [
      { name: "a cache line, one way", value: line, unit: "us" },
      ...figuresOf(results, line),
    ],
  };
}
