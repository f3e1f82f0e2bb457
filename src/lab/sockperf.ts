// A ping-pong of sockperf between two hosts, for the demo and the benchmarks.

import type { Host } from "./network.ts";

const PORT = 11111;
const SERVER_CPU = 0;
const CLIENT_CPU = 1;
const PERCENTILES = ["50.000", "99.000", "99.900"] as const;

/** One-way latency in microseconds: half of what a round trip took. */
export interface Latency {
  median: number;
  p99: number;
  p999: number;
}

export interface PingPong {
  protocol: "UDP" | "TCP";
  server: Host;
  client: Host;
  /** Seconds of measuring, after the warm-up. */
  seconds: number;
  messageBytes: number;
  /** Options of sockperf for both ends, such as --nonblocked. */
  options: readonly string[];
  /** Makes a command run in the way that is measured. */
  wrap: (command: readonly string[]) => readonly string[];
}

function pinned(cpu: number, command: readonly string[]): string[] {
  return ["taskset", "-c", String(cpu), ...command];
}

/** Both ends have a CPU of their own, the same one each time. */
export async function pingPong(game: PingPong): Promise<Latency> {
  const { server, client, wrap } = game;
  const isTcp = game.protocol === "TCP";
  const where = ["-i", server.address, "-p", String(PORT), ...(isTcp ? ["--tcp"] : [])];
  const target = [...where, ...game.options];
  const serve = wrap(["sockperf", "server", ...target]);
  await using _running = server.start(pinned(SERVER_CPU, serve));
  await (isTcp ? server.waitForTcpPort(PORT) : server.waitForUdpPort(PORT));
  const size = ["-m", String(game.messageBytes), "-t", String(game.seconds)];
  const ask = wrap(["sockperf", "ping-pong", ...target, ...size]);
  const { stdout } = await client.run(pinned(CLIENT_CPU, ask));
  const [median = 0, p99 = 0, p999 = 0] = PERCENTILES.map((share) => {
    const line = new RegExp(`percentile ${share} = +([0-9.]+)`).exec(stdout);
    if (!line) throw new Error(`sockperf printed no percentile ${share}: ${stdout}`);
    return Number(line[1]);
  });
  return { median, p99, p999 };
}
