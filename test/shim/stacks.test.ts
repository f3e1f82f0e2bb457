// Two stacks on one host, each with queues of its own of the same interface.

import assert from "node:assert/strict";
import { test } from "node:test";
import { type Host, Network } from "../../src/lab/network.ts";
import { Program, until } from "../../src/lab/program.ts";
import type { Status } from "../../src/daemon/status.ts";
import { assertServes, type EchoServer, startEcho } from "../support/echo.ts";
import { CONTROL, startAccelerated } from "../support/exasock.ts";
import { skipWithoutRoot } from "../support/privilege.ts";

const QUEUES = 2;
const QUESTIONS = 8;
const options = { skip: skipWithoutRoot };

/** A stack of its own for each queue of the left host's interface. */
const stackOf = (queue: number) => (queue === 0 ? "default" : "second");

function launchOptions(host: Host, queue: number): string[] {
  return [`--stack=${stackOf(queue)}`, `--interfaces=${host.interfaceName}:${queue}`];
}

async function statusOf(host: Host, queue: number): Promise<Status> {
  const command = [CONTROL, "status", "--json", "--stack", stackOf(queue)];
  const program = new Program(host.command(command));
  program.endInput();
  return JSON.parse((await program.waitForSuccess()).stdout) as Status;
}

async function stop(host: Host, queue: number): Promise<void> {
  await new Program(host.command([CONTROL, "stop", "--stack", stackOf(queue)])).waitForSuccess();
}

/**
 * A network whose right host sends by the queue with the number of the CPU that sends, and so they
 * arrive: this stands for the rules by which a card gives each stack its flows.
 */
async function networkWithQueues(): Promise<Network> {
  const network = await Network.create({ queues: QUEUES });
  const right = network.host("right");
  for (let queue = 0; queue < QUEUES; queue++) {
    const file = `/sys/class/net/${right.interfaceName}/queues/tx-${queue}/xps_cpus`;
    await right.run(["sh", "-c", `echo ${1 << queue} > ${file}`]);
  }
  return network;
}

/** Asks a server from the right host, by this queue. */
async function ask({ host, port }: EchoServer, right: Host, queue: number, kind = "UDP4") {
  const pinned = ["taskset", "-c", String(queue)];
  const to = `${kind}:${host.address}:${port}`;
  const client = new Program(right.command([...pinned, "socat", "-t", "2", "-", to]));
  client.write("anybody there");
  await client.waitForOutput("ANYBODY THERE");
  client.kill();
  await client.waitForExit();
}

test("two stacks serve their queues of one interface, each for itself", options, async () => {
  await using network = await networkWithQueues();
  const [left, right] = [network.host("left"), network.host("right")];
  const servers: EchoServer[] = [];
  for (let queue = 0; queue < QUEUES; queue++) {
    servers.push(await startEcho(left, launchOptions(left, queue)));
  }
  for (const [queue, server] of servers.entries()) {
    for (let n = 0; n < QUESTIONS; n++) await ask(server, right, queue);
    const { interfaces, counters } = await statusOf(left, queue);
    assert.deepEqual(
      interfaces.flatMap((one) => one.queues.map((own) => own.queue)),
      [queue],
    );
    assert.equal(counters.rxDatagrams, QUESTIONS, `received by ${stackOf(queue)}`);
  }
  // On the other's queue it is the kernel that delivers.
  for (const [queue, server] of servers.entries()) await ask(server, right, 1 - queue);
  for (let queue = 0; queue < QUEUES; queue++) {
    const { counters } = await statusOf(left, queue);
    assert.equal(counters.rxDatagrams, QUESTIONS, `received by ${stackOf(queue)}`);
  }
});

test("programs of different stacks meet through the kernel", options, async () => {
  await using network = await networkWithQueues();
  const left = network.host("left");
  const server = await startEcho(left, launchOptions(left, 0));
  const address = `UDP4:${left.address}:${server.port}`;
  const client = startAccelerated(left, ["socat", "-t", "2", "-", address], {
    options: launchOptions(left, 1),
  });
  client.write("from the other stack");
  await client.waitForOutput("FROM THE OTHER STACK");
  client.kill();
  await client.waitForExit();
  for (let queue = 0; queue < QUEUES; queue++) {
    const { counters, programs } = await statusOf(left, queue);
    assert.equal(counters.rxDatagrams, 0, `received by ${stackOf(queue)}`);
    assert.equal(programs.length, 1 - queue);
  }
});

test("the end of one stack is not the other's", options, async () => {
  await using network = await networkWithQueues();
  const [left, right] = [network.host("left"), network.host("right")];
  const first = await startEcho(left, launchOptions(left, 0));
  const second = await startEcho(left, launchOptions(left, 1));
  await ask(second, right, 1);
  await stop(left, 0);
  await assertServes(first, right);
  const before = (await statusOf(left, 1)).counters.rxDatagrams ?? 0;
  for (let n = 0; n < QUESTIONS; n++) await ask(second, right, 1);
  assert.equal((await statusOf(left, 1)).counters.rxDatagrams, before + QUESTIONS);
  // Its queue can be had again.
  const again = await startEcho(left, launchOptions(left, 0));
  await ask(again, right, 0);
  assert.equal((await statusOf(left, 0)).counters.rxDatagrams, 1);
});

test("an exasockd takes over its own stack's queues, and no other's", options, async () => {
  await using network = await networkWithQueues();
  const [left, right] = [network.host("left"), network.host("right")];
  const servers = [
    await startEcho(left, launchOptions(left, 0)),
    await startEcho(left, launchOptions(left, 1)),
  ] as const;
  const { pid } = await statusOf(left, 1);
  process.kill(pid, "SIGKILL");
  await until("exasockd to be dead", async () => {
    const { code } = await new Program(
      left.command([CONTROL, "status", "--stack", stackOf(1)]),
    ).waitForExit();
    return code !== 0;
  });
  await startAccelerated(left, ["true"], { options: launchOptions(left, 1) }).waitForSuccess();
  for (const [queue, server] of servers.entries()) {
    const before = (await statusOf(left, queue)).counters.rxDatagrams ?? 0;
    for (let n = 0; n < QUESTIONS; n++) await ask(server, right, queue);
    assert.equal((await statusOf(left, queue)).counters.rxDatagrams, before + QUESTIONS);
  }
});

test(
  "a stack that can't have the interface says who has it, and its programs run",
  options,
  async () => {
    await using network = await networkWithQueues();
    const [left, right] = [network.host("left"), network.host("right")];
    const name = left.interfaceName;
    const whole = await startEcho(left);
    const late = new Program(
      left.command([CONTROL, "up", `${name}:1`, "--stack", stackOf(1), "--json"]),
    );
    const { stdout, stderr } = await late.waitForExit();
    assert.match(stdout + stderr, /another stack has all of its queues/);
    const served = await startEcho(left, ["--stack=second"]);
    await assertServes(served, right);
    await assertServes(whole, right);
  },
);

test(
  "a queue that does not exist, or is another stack's, is an error that names it",
  options,
  async () => {
    await using network = await networkWithQueues();
    const left = network.host("left");
    const up = async (queues: string, stack: string) => {
      const request = `${left.interfaceName}:${queues}`;
      const program = new Program(left.command([CONTROL, "up", request, "--stack", stack]));
      const { stdout, stderr } = await program.waitForExit();
      return stdout + stderr;
    };
    assert.match(await up("7", "first"), /it has no queue 7/);
    await stop(left, 0).catch(() => {});
    assert.match(await up("0-1", "second"), /started|done/);
    assert.match(await up("1", "third"), /AF_XDP on queue 1: resource busy or locked/);
    assert.match(await up("1-0", "second"), /is not an interface/);
    for (const stack of ["first", "second", "third"]) {
      await new Program(left.command([CONTROL, "stop", "--stack", stack])).waitForExit();
    }
  },
);
