// `npm run demo`: exasock at work, in two minutes and without touching the machine's own network.

import { fileURLToPath } from "node:url";
import { formatTable } from "../cli/output.ts";
import type { Status } from "../daemon/status.ts";
import { type Host, Network, removeLeftOverNamespaces } from "../lab/network.ts";
import { until } from "../lab/program.ts";
import { type Latency, pingPong } from "../lab/sockperf.ts";
import { heading, note, say, shell } from "./screen.ts";

const PORT = 1234;
const MESSAGE_BYTES = 64;
const SECONDS = 1;
const NUMBER_WIDTH = 8;
const LINES = ["hello from the other host", "no kernel has seen this", "good bye"];

function bin(name: string): string {
  return fileURLToPath(new URL(`../../bin/${name}`, import.meta.url));
}

async function statusOf(host: Host): Promise<Status> {
  const { stdout } = await host.run([bin("exasockctl"), "status", "--json"]);
  return JSON.parse(stdout) as Status;
}

/** netcat under exasock on one host, plain netcat on the other. */
async function netcat(left: Host, right: Host): Promise<void> {
  heading("2. An unmodified program on the user-space stack");
  const before = left.kernelCounters("Udp").InDatagrams ?? 0;
  shell("left", `EXASOCK_DEBUG=1 bin/exasock nc -u -l ${PORT}`);
  const command = [bin("exasock"), "nc", "-u", "-l", String(PORT)];
  await using server = left.start(command, { environment: { EXASOCK_DEBUG: "1" } });
  await left.waitForUdpPort(PORT);
  await server.waitForOutput(/^exasock: enabled bypass on fd \d+$/m);
  say(server.stderr.trim());
  shell("right", `nc -u ${left.address} ${PORT}      # plain netcat, plain kernel`);
  await using client = right.start(["nc", "-u", left.address, String(PORT)]);
  for (const line of LINES) {
    client.write(`${line}\n`);
    await server.waitForOutput(`${line}\n`);
  }
  note("what the left host's netcat printed:");
  say(server.stdout.trim());
  const answer = "and an answer, from the same socket";
  server.write(`${answer}\n`);
  await client.waitForOutput(answer);
  note("what the right host's netcat got back:");
  say(client.stdout.trim());
  await counters(left, before);
}

/** Who received them: the stack's counters against the kernel's. */
async function counters(left: Host, before: number): Promise<void> {
  const now = await statusOf(left);
  const byKernel = (left.kernelCounters("Udp").InDatagrams ?? 0) - before;
  note("datagrams that the left host received:");
  say(
    formatTable([
      ["by exasock's stack", String(now.counters.rxDatagrams ?? 0)],
      ["by the kernel's UDP", String(byKernel)],
    ]),
  );
  const used = now.interfaces.map((one) => `${one.name} (${one.kind}, ${one.mode} XDP)`);
  note(`interface in use: ${used.join(", ")}\n`);
}

async function race(left: Host, right: Host): Promise<void> {
  heading("3. How fast");
  note(`sockperf, ${MESSAGE_BYTES}-byte datagrams to and fro; one way, in microseconds.`);
  note("Each end has a CPU of its own, on the kernel and under exasock alike.");
  const spin = [bin("exasock"), "--wait=spin"];
  const size = { seconds: SECONDS, messageBytes: MESSAGE_BYTES };
  const rows: [string, Latency][] = [];
  const contenders: [string, readonly string[], readonly string[]][] = [
    ["kernel, blocking", [], []],
    ["kernel, spinning", ["--nonblocked"], []],
    ["exasock, spinning", ["--nonblocked"], spin],
  ];
  for (const [name, options, prefix] of contenders) {
    const wrap = (command: readonly string[]) => [...prefix, ...command];
    const ends = { server: left, client: right, protocol: "UDP" as const };
    rows.push([name, await pingPong({ ...ends, ...size, options, wrap })]);
  }
  const cells = rows.map(([name, { median, p99 }]) => {
    return [name, ...[median, p99].map((value) => value.toFixed(2).padStart(NUMBER_WIDTH))];
  });
  const titles = ["median", "99 %"].map((title) => title.padStart(NUMBER_WIDTH));
  say(formatTable([["", ...titles], ...cells]));
  const [blocking, spinning, exasock] = rows.map(([, latency]) => latency.median);
  if (!blocking || !spinning || !exasock) return;
  const times = (slow: number) => `${(slow / exasock).toFixed(1)} times`;
  note(`exasock is ${times(spinning)} as fast as spinning kernel sockets,`);
  note(`and ${times(blocking)} as fast as blocking ones. npm run bench measures with care.\n`);
}

async function main(): Promise<number> {
  if (process.getuid?.() !== 0) {
    console.error("demo: needs root, to make two network namespaces and to load an XDP program");
    return 1;
  }
  removeLeftOverNamespaces();
  heading("1. Two hosts");
  await using network = await Network.create();
  const [left, right] = [network.host("left"), network.host("right")];
  note("two network namespaces, joined by a virtual cable (veth):");
  say(
    `left  ${left.address}  ${left.interfaceName}\nright ${right.address}  ${right.interfaceName}`,
  );
  await netcat(left, right);
  await race(left, right);
  heading("4. Cleaning up");
  await left.run([bin("exasockctl"), "stop"]);
  await until("exasockd to end", () => left.pids().length === 0);
  note("exasockd has stopped, the namespaces are being removed: nothing is left behind.\n");
  return 0;
}

process.exitCode = await main();
