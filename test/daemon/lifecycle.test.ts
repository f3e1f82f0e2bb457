// exasockd from start to end, in network namespaces of the test's own.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Network } from "../../src/lab/network.ts";
import { until } from "../../src/lab/program.ts";
import { skipWithoutRoot } from "../support/privilege.ts";
import { ask, asker, hasXdp, JOIN, serve, startDaemon, status, untilClean } from "./host.ts";

const MANY = 10;
const ALREADY_RUNNING_STATUS = 3;

describe("exasockd", { skip: skipWithoutRoot }, () => {
  it("is one when ten start at once", async () => {
    await using network = await Network.create();
    const host = network.host("left");
    const daemons = Array.from({ length: MANY }, () => startDaemon(host));
    await until("nine to give up", () => daemons.filter((one) => one.exit).length === MANY - 1);
    const [winner] = daemons.filter((one) => one.exit === null);
    assert.ok(winner);
    await winner.waitForOutput("exasockd serves");
    for (const one of daemons.filter((other) => other !== winner)) {
      assert.equal(one.exit?.code, ALREADY_RUNNING_STATUS, one.stderr);
      assert.match(one.stderr, /another one serves the stack "default" already/);
    }
    assert.equal((await status(host)).pid, winner.pid);
    winner.kill("SIGTERM");
    assert.equal((await winner.waitForExit()).code, 0);
  });

  it("attaches to the interface, and leaves it clean on SIGTERM, SIGINT and SIGKILL", async () => {
    await using network = await Network.create();
    const host = network.host("left");
    for (const signal of ["SIGTERM", "SIGINT", "SIGKILL"] as const) {
      const daemon = await serve(host);
      assert.equal(await hasXdp(host), true);
      daemon.kill(signal);
      const { code } = await daemon.waitForExit();
      assert.equal(code, signal === "SIGKILL" ? null : 0);
      await untilClean(host);
    }
  });

  it("tells programs of its death, however it dies", async () => {
    await using network = await Network.create();
    const host = network.host("left");
    const daemon = await serve(host);
    await using client = asker(host, JOIN, "hold");
    await client.waitForOutput(/^ok /);
    daemon.kill("SIGKILL");
    await client.waitForOutput("hung up");
    // The program still holds the AF_XDP sockets; a new exasockd starts once it has ended.
    await client.waitForExit();
    const next = await serve(host);
    assert.equal((await status(host)).interfaces.length, 1);
    next.kill("SIGTERM");
    await next.waitForExit();
  });

  it("stops by itself when unused, and not while a program uses it", async () => {
    await using network = await Network.create();
    const host = network.host("left");
    const daemon = await serve(host, "--idle-seconds=1");
    await using client = asker(host, JOIN, "hold");
    await client.waitForOutput(/^ok /);
    await assert.rejects(daemon.waitForOutput("exasockd stops", 2500));
    assert.equal((await status(host)).programs.length, 1);
    client.endInput();
    await daemon.waitForOutput("no program for 1 s");
    assert.equal((await daemon.waitForExit()).code, 0);
    await untilClean(host);
  });

  it("stops when root asks it to", async () => {
    await using network = await Network.create();
    const host = network.host("left");
    const daemon = await serve(host);
    assert.deepEqual(await ask(host, '{"type":"stop"}'), ['{"ok":true}']);
    assert.equal((await daemon.waitForExit()).code, 0);
    await untilClean(host);
  });

  it("counts programs in and out, and refuses another build's library", async () => {
    await using network = await Network.create();
    const host = network.host("left");
    await using daemon = await serve(host);
    const wrong = JSON.stringify({ type: "join", build: "00000000deadbeef", pid: 1 });
    assert.match((await ask(host, wrong))[0] ?? "", /^error exasockd is of build [0-9a-f]{16}, /);
    const client = asker(host, JOIN, '{"type":"queues"}', JOIN, "hold");
    await client.waitForOutput(/joined already/);
    const lines = client.stdout.split("\n");
    const joined = /^ok (\d+) (\d+) (\d+) ([0-9a-f]+)$/.exec(lines[0] ?? "");
    assert.ok(joined, lines[0]);
    const queues = BigInt(`0x${joined[4]}`).toString(2).replaceAll("0", "").length;
    assert.equal(Number(joined[3]), 6 + queues);
    assert.equal(lines[1], `ok ${joined[1]} ${joined[2]} ${queues} ${joined[4]}`);
    assert.equal((await status(host)).programs[0]?.pid, client.pid);
    client.kill("SIGKILL");
    await until("the program to be gone", async () => (await status(host)).programs.length === 0);
    assert.equal(daemon.exit, null);
  });

  it("answers nonsense with an error and lives", async () => {
    await using network = await Network.create();
    const host = network.host("left");
    await using daemon = await serve(host);
    const answers = await ask(host, "nonsense", "{}", '{"type":"up","interfaces":["a/b"]}');
    for (const answer of answers) assert.equal(JSON.parse(answer).ok, false);
    assert.equal(daemon.exit, null);
  });
});

describe("an interface of exasockd", { skip: skipWithoutRoot }, () => {
  it("is given back and taken again on request", async () => {
    await using network = await Network.create();
    const host = network.host("left");
    const name = host.interfaceName;
    await using daemon = await serve(host);
    const frames = (await status(host)).region;
    assert.deepEqual(await ask(host, JSON.stringify({ type: "down", interfaces: [name] })), [
      '{"ok":true}',
    ]);
    assert.equal(await hasXdp(host), false);
    const idle = await status(host);
    assert.equal(idle.interfaces.length, 0);
    assert.equal(idle.region.freeFrames, idle.region.frames);
    assert.deepEqual(await ask(host, JSON.stringify({ type: "up", interfaces: [name] })), [
      '{"ok":true}',
    ]);
    assert.equal(await hasXdp(host), true);
    assert.equal((await status(host)).region.freeFrames, frames.freeFrames);
    const [unknown] = await ask(host, '{"type":"up","interfaces":["nosuch0"]}');
    assert.match(unknown ?? "", /nosuch0: no such interface/);
    assert.equal(daemon.exit, null);
  });

  it("is followed when it goes down, comes up, changes its MTU, and vanishes", async () => {
    await using network = await Network.create();
    const host = network.host("left");
    const name = host.interfaceName;
    await using daemon = await serve(host);
    const first = async () => (await status(host)).interfaces[0];
    await host.run(["ip", "link", "set", name, "down"]);
    await until("it to be down", async () => (await first())?.up === false);
    await host.run(["ip", "link", "set", name, "up"]);
    await until("it to be up", async () => (await first())?.up === true);
    await host.run(["ip", "link", "set", name, "mtu", "1400"]);
    await until("its MTU", async () => (await first())?.mtu === 1400);
    assert.equal((await first())?.mode, "native");
    await host.run(["ip", "link", "del", name]);
    await until("it to be gone", async () => (await first()) === undefined);
    const { region } = await status(host);
    assert.equal(region.freeFrames, region.frames);
    assert.equal(daemon.exit, null);
  });

  it("is used as soon as it appears with an address", async () => {
    await using network = await Network.create({ links: [["left", "right"]] });
    const host = network.host("left");
    await using daemon = await serve(host);
    const make = "ip link add late0 type veth peer name late1";
    await host.run(make.split(" "));
    await host.run("ip link set late1 up".split(" "));
    await host.run("ip link set late0 up".split(" "));
    await host.run("ip addr add 10.78.0.1/24 dev late0".split(" "));
    const names = async () => (await status(host)).interfaces.map((one) => one.name);
    await until("late0 to be used", async () => (await names()).includes("late0"));
    assert.ok(!(await names()).includes("late1"));
    assert.equal(daemon.exit, null);
  });

  it("is the only one when it is named", async () => {
    await using network = await Network.create({
      links: [
        ["left", "right"],
        ["left", "right"],
      ],
    });
    const host = network.host("left");
    await using daemon = await serve(host, "--interfaces=veth1,nosuch0");
    const { interfaces, unusable } = await status(host);
    assert.deepEqual(
      interfaces.map((one) => one.name),
      ["veth1"],
    );
    assert.deepEqual(unusable, [{ name: "nosuch0", reason: "no such interface" }]);
    assert.equal(daemon.exit, null);
  });
});
