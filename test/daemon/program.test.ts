// exasockd with a real program: what happens to it while interfaces come and go, and who moves its
// packets while it can't.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type Host, Network } from "../../src/lab/network.ts";
import { type Program, until } from "../../src/lab/program.ts";
import { startAccelerated } from "../support/exasock.ts";
import { skipWithoutRoot } from "../support/privilege.ts";
import { ask, serve, status } from "./host.ts";

const PORT = "4321";

/** An accelerated nc on the left that hears from one on the right. */
async function conversation(left: Host, right: Host): Promise<[Program, Program]> {
  const listener = startAccelerated(left, ["nc", "-u", "-l", "-n", left.address, PORT], {
    environment: { EXASOCK_DEBUG: "1" },
  });
  await listener.waitForOutput("enabled bypass on fd");
  await left.waitForUdpPort(Number(PORT));
  const sender = right.start(["nc", "-u", "-n", left.address, PORT]);
  sender.write("one\n");
  await listener.waitForOutput("one\n");
  return [listener, sender];
}

const received = async (host: Host) => (await status(host)).counters.rxFrames ?? 0;

describe("exasockd with a program", { skip: skipWithoutRoot }, () => {
  it("gives an interface back and takes it again while the program sleeps", async () => {
    await using network = await Network.create();
    const [left, right] = [network.host("left"), network.host("right")];
    await using _daemon = await serve(left);
    const [listener, sender] = await conversation(left, right);
    const before = await received(left);
    const interfaces = [left.interfaceName];

    assert.deepEqual(await ask(left, JSON.stringify({ type: "down", interfaces })), [
      '{"ok":true}',
    ]);
    sender.write("two\n");
    await listener.waitForOutput("two\n");
    assert.equal(await received(left), before, "the kernel served it");

    assert.deepEqual(await ask(left, JSON.stringify({ type: "up", interfaces })), ['{"ok":true}']);
    sender.write("three\n");
    await listener.waitForOutput("three\n");
    assert.equal(await received(left), before + 1, "the stack served it");
  });

  it("moves the packets while the program that should is stopped", async () => {
    await using network = await Network.create();
    const [left, right] = [network.host("left"), network.host("right")];
    await using _daemon = await serve(left);
    const [listener, sender] = await conversation(left, right);
    const before = await received(left);
    listener.kill("SIGSTOP");
    sender.write("two\n");
    await until("the packet to be handled", async () => (await received(left)) > before);
    assert.equal((await status(left)).sockets[0]?.queuedDatagrams, 1);
    listener.kill("SIGCONT");
    await listener.waitForOutput("two\n");
  });

  it("removes the sockets of a program that is killed", async () => {
    await using network = await Network.create();
    const [left, right] = [network.host("left"), network.host("right")];
    await using daemon = await serve(left);
    const [listener] = await conversation(left, right);
    assert.equal((await status(left)).socketCount, 1);
    listener.kill("SIGKILL");
    await until("its socket to be gone", async () => (await status(left)).socketCount === 0);
    const { region, interfaces } = await status(left);
    const posted = interfaces
      .flatMap((one) => one.queues)
      .reduce((sum, one) => sum + one.posted, 0);
    assert.equal(region.freeFrames + posted, region.frames);
    assert.equal(daemon.exit, null);
  });
});
