// The kernel's side of the data path: steering, AF_XDP on all queues, arrival counters, destroy
// notifications; with exasockd's own pieces in one process (datapath-probe.ts).

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { type Host, Network } from "../../src/lab/network.ts";
import { type Program, until } from "../../src/lab/program.ts";
import { skipWithoutRoot } from "../support/privilege.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const PROBE = `${ROOT}test/daemon/datapath-probe.ts`;
const STEERED_PORT = 7777;
const ADDRESS = "10.79.0.1";
const SEND = `
  const socket = require("node:dgram").createSocket("udp4");
  const [address, port, count] = process.argv.slice(1);
  let left = Number(count);
  for (let n = 0; n < Number(count); n++) {
    socket.send("datagram", Number(port), address, () => --left || socket.close());
  }`;

interface Report {
  mode: string;
  zeroCopy: boolean;
  queues: number;
  readable: number[];
  received: number;
  arrivals: number;
  destroyed: boolean;
}

class Probe {
  readonly program: Program;

  constructor(host: Host, name: string) {
    const command = [process.execPath, "--import", "tsx", PROBE, name, ADDRESS];
    this.program = host.start(command, { directory: ROOT });
  }

  get lines(): string[] {
    return this.program.stdout.trimEnd().split("\n");
  }

  async port(): Promise<number> {
    await this.program.waitForOutput(/port/);
    return (JSON.parse(this.lines[0] ?? "") as { port: number }).port;
  }

  async tell(command: string): Promise<Report> {
    const count = this.lines.length;
    this.program.write(`${command}\n`);
    await this.program.waitFor("an answer", () => this.lines.length > count);
    return JSON.parse(this.lines.at(-1) ?? "") as Report;
  }
}

/** Two hosts joined by a veth pair with two queues at each end. */
async function twoQueues(): Promise<[Network, Host, Host]> {
  const network = await Network.create();
  const [left, right] = [network.host("left"), network.host("right")];
  const queues = "numtxqueues 2 numrxqueues 2";
  const add = `ip link add wide netns ${left.namespace} ${queues} type veth`;
  const peer = `peer name wide netns ${right.namespace} ${queues}`;
  await left.run(`${add} ${peer}`.split(" "));
  for (const [host, address] of [
    [left, ADDRESS],
    [right, "10.79.0.2"],
  ] as const) {
    await host.run(`ip addr add ${address}/24 dev wide`.split(" "));
    await host.run("ip link set wide up".split(" "));
  }
  return [network, left, right];
}

describe("the data path", { skip: skipWithoutRoot }, () => {
  it("steers by the mapped table, on every queue, and leaves the rest to the kernel", async () => {
    const [network, left, right] = await twoQueues();
    await using _ = network;
    const probe = new Probe(left, "wide");
    const port = await probe.port();
    const send = (to: number, count: number) =>
      right.run([process.execPath, "-e", SEND, ADDRESS, String(to), String(count)]);

    await send(port, 3);
    await until("three datagrams", async () => (await probe.tell("report")).received === 3);
    const before = await probe.tell(`udp ${STEERED_PORT}`);
    assert.equal(before.mode, "native");
    assert.equal(before.zeroCopy, false);
    assert.equal(before.queues, 2);
    assert.equal(before.arrivals, 3);
    assert.deepEqual(before.readable, []);

    // Each sender's socket chooses a queue by its hash: a few of them reach both.
    await until("packets on both queues", async () => {
      await send(STEERED_PORT, 1);
      return (await probe.tell("report")).readable.length === 2;
    });
    assert.equal((await probe.tell("report")).received, 3);

    assert.equal((await probe.tell("report")).destroyed, false);
    await probe.tell("close");
    await until("news of the close", async () => (await probe.tell("report")).destroyed);

    probe.program.write("quit\n");
    const { stdout } = await probe.program.waitForSuccess();
    const end = JSON.parse(stdout.trimEnd().split("\n").at(-1) ?? "");
    assert.equal(end.freeFrames, end.frames);
  });
});
