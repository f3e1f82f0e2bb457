// Who may start and use a stack, and exasockd's start itself, on hosts of the laboratory.

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { type Host, Network } from "../../src/lab/network.ts";
import { type Outcome, until } from "../../src/lab/program.ts";
import { CONTROL, LAUNCHER } from "../support/exasock.ts";
import { skipWithoutRoot } from "../support/privilege.ts";

/** Neither root nor in any group, but able to read the repository wherever it lies. */
const AS_NOBODY = [
  ...["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"],
  ...["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"],
];
const ECHO = ["sh", "-c", 'echo "ran:$LD_PRELOAD"'];
const PLENTY = 10;

let network: Network;
let left: Host;
let right: Host;

async function run(host: Host, command: readonly string[]): Promise<Outcome> {
  const program = host.start(command);
  program.endInput();
  return program.waitForExit();
}

function commandLine(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
  } catch {
    return [];
  }
}

/** The pids of all exasockd on a host. */
function daemons(host: Host): number[] {
  return host.pids().filter((pid) => commandLine(pid)[1]?.endsWith("/exasockd.js"));
}

async function stop(host: Host): Promise<void> {
  await host.run([CONTROL, "stop"]);
  await until("exasockd to end", () => daemons(host).length === 0);
}

describe("a user without permission", { skip: skipWithoutRoot }, () => {
  before(async () => {
    network = await Network.create();
    left = network.host("left");
    right = network.host("right");
  });

  after(() => {
    network.closeNow();
  });

  const reason =
    /^nobody is neither root nor in the group exasock \(as root: .*usermod -aG exasock nobody\)\n$/;

  it("is told so in one line, and the program runs unaccelerated", async () => {
    const { stdout, stderr, code } = await run(left, [...AS_NOBODY, LAUNCHER, ...ECHO]);
    assert.deepEqual([stdout, code], ["ran:\n", 0]);
    const [prefix, rest] = [stderr.slice(0, 34), stderr.slice(34)];
    assert.equal(prefix, "exasock warning: not accelerated: ");
    assert.match(rest, reason);
    assert.deepEqual(daemons(left), [], "nothing was started");
  });

  it("can have the program not run at all", async () => {
    const command = [...AS_NOBODY, LAUNCHER, "--require", ...ECHO];
    const { stdout, stderr, code } = await run(left, command);
    assert.deepEqual([stdout, code], ["", 1]);
    assert.equal(stderr.slice(0, 26), "exasock: not accelerated: ");
    assert.match(stderr.slice(26), reason);
  });

  it("is told the same while a stack runs", async () => {
    await left.run([CONTROL, "up"]);
    const { stdout, stderr } = await run(left, [...AS_NOBODY, LAUNCHER, ...ECHO]);
    assert.equal(stdout, "ran:\n");
    assert.match(stderr.slice(34), reason);
    await stop(left);
  });

  it("may look, but not start, change or stop the stack", async () => {
    const as = (...args: string[]) => run(left, [...AS_NOBODY, CONTROL, ...args]);
    const refusals = {
      up: "only root can start the stack or add interfaces",
      down: "only root can take interfaces from the stack",
      stop: "only root can stop exasockd",
    };
    for (const [name, text] of Object.entries(refusals)) {
      const { stderr, code } = await as(name);
      assert.deepEqual([stderr, code], [`exasockctl: ${text}\n`, 1]);
    }
    await left.run([CONTROL, "up"]);
    const { stdout, code } = await as("status");
    assert.deepEqual([stdout.startsWith("exasockd "), code], [true, 0]);
    await stop(left);
  });
});

describe("a member of the group exasock", { skip: skipWithoutRoot }, () => {
  const folder = mkdtempSync(join(tmpdir(), "exasock-group-"));
  const groups = join(folder, "group");
  const asMember = AS_NOBODY.map((word) => (word === "--clear-groups" ? "--groups=4242" : word));

  before(async () => {
    network = await Network.create({ queues: 2 });
    left = network.host("left");
    writeFileSync(
      groups,
      `${readFileSync("/etc/group", "utf8")}exasock:x:4242:\nexasock-risk:x:4343:\n`,
    );
  });

  after(() => {
    network.closeNow();
    rmSync(folder, { recursive: true });
  });

  /** Runs a shell script where the group exists, for all that is started by it. */
  const withGroup = (script: string) => {
    const mount = `mount --bind ${groups} /etc/group`;
    return run(left, ["unshare", "--mount", "sh", "-c", `${mount} && ${script}`]);
  };

  it("is accelerated without privileges", async () => {
    const bind = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).bind(('', 0))";
    const launch = `${asMember.join(" ")} ${LAUNCHER} --require --debug python3 -c "${bind}"`;
    const { stderr, code } = await withGroup(`${CONTROL} up && ${launch}`);
    assert.deepEqual([stderr, code], ["exasock: enabled bypass on fd 3\n", 0]);
    await stop(left);
  });

  it("is told when root has to start exasockd first", async () => {
    const { stderr, code } = await withGroup(`${asMember.join(" ")} ${LAUNCHER} --require true`);
    const text = "exasockd does not run here, and only root can start it (as root: exasockctl up)";
    assert.deepEqual([stderr, code], [`exasock: not accelerated: ${text}\n`, 1]);
  });

  it("may not have the stack use other interfaces", async () => {
    const launch = `${asMember.join(" ")} ${LAUNCHER} --require --interfaces=lo true`;
    const { stderr, code } = await withGroup(`${CONTROL} up && ${launch}`);
    const text = "the stack does not use lo (as root: exasockctl up lo)";
    assert.deepEqual([stderr, code], [`exasock: not accelerated: ${text}\n`, 1]);
  });

  it("is nobody to a stack that has a group of its own", async () => {
    const launch = (group: number, stack: string) => {
      const words = asMember.map((word) => (word === "--groups=4242" ? `--groups=${group}` : word));
      return `${words.join(" ")} ${LAUNCHER} --require --stack=${stack} true`;
    };
    // What the tests before have left has the whole interface.
    await stop(left);
    const name = left.interfaceName;
    const up = `${CONTROL} up ${name}:0 && ${CONTROL} up ${name}:1 --stack risk`;
    const cases = [
      [4242, "default", ""],
      [4343, "risk", ""],
      [4242, "risk", "exasock-risk"],
      [4343, "default", "exasock"],
    ] as const;
    for (const [group, stack, missing] of cases) {
      const { stderr, code } = await withGroup(`${up} && ${launch(group, stack)}`);
      assert.equal(code, missing === "" ? 0 : 1, stderr);
      if (missing !== "") assert.match(stderr, new RegExp(`nor in the group ${missing} \\(`));
    }
    await run(left, [CONTROL, "stop", "--stack", "risk"]);
    await stop(left);
  });
});

describe("exasockd", { skip: skipWithoutRoot }, () => {
  before(async () => {
    network = await Network.create();
    left = network.host("left");
    right = network.host("right");
  });

  after(() => {
    network.closeNow();
  });

  it("is started once by many launchers at once, in each namespace", async () => {
    const command = [LAUNCHER, "--require", ...ECHO];
    const outcomes = await Promise.all(
      [left, right].flatMap((host) => Array.from({ length: PLENTY }, () => run(host, command))),
    );
    for (const { stdout, stderr, code } of outcomes) {
      assert.deepEqual([stderr, code], ["", 0]);
      assert.match(stdout, /^ran:.*libexasock\.so\n$/);
    }
    assert.equal(daemons(left).length, 1);
    assert.equal(daemons(right).length, 1);
  });

  it("is init's child, in a session of its own without a terminal", () => {
    const [pid] = daemons(left);
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const [, parent, , session, terminal] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    assert.notEqual(parent, String(process.pid));
    assert.notEqual(session, readFileSync("/proc/self/stat", "utf8").split(" ")[5]);
    assert.equal(terminal, "0");
  });

  it("holds no descriptor of the one who started it", async () => {
    await stop(left);
    const lock = join(tmpdir(), `exasock-lock-${process.pid}`);
    // The usual way to hold a lock in a shell script. The pipe is the test's own: with a writer
    // left over this script would not end.
    const script = `exec 200>${lock}; flock -n 200 && ${LAUNCHER} --require true && echo ran | cat`;
    assert.equal((await run(left, ["bash", "-c", script])).stdout, "ran\n");
    assert.equal(daemons(left).length, 1);
    const { code } = await run(left, ["flock", "-n", lock, "true"]);
    assert.equal(code, 0, "the lock is free");
    rmSync(lock);
  });

  it("writes a log that only root can write", async () => {
    const { stdout } = await left.run(["sh", "-c", "stat -Lc %i /proc/self/ns/net"]);
    const log = statSync(`/run/exasock/default-${stdout.trim()}.log`);
    assert.deepEqual([log.uid, log.mode & 0o777], [0, 0o644]);
    assert.equal(statSync("/run/exasock").mode & 0o022, 0);
  });

  it("is replaced at once by the next launch after a stop", async () => {
    const [before] = daemons(left);
    await left.run([CONTROL, "stop"]);
    const { stderr, code } = await run(left, [LAUNCHER, "--require", ...ECHO]);
    assert.deepEqual([stderr, code], ["", 0]);
    await until("one exasockd", () => daemons(left).length === 1);
    assert.notEqual(daemons(left)[0], before);
  });

  it("is replaced at once by the next launch after it was killed", async () => {
    const [before] = daemons(left);
    process.kill(before ?? 0, "SIGKILL");
    const { stderr, code } = await run(left, [LAUNCHER, "--require", ...ECHO]);
    assert.deepEqual([stderr, code], ["", 0]);
    assert.notEqual(daemons(left)[0], before);
  });

  it("serves stacks of other names beside one another", async () => {
    const { stdout } = await left.run([CONTROL, "down", "--json"]);
    assert.deepEqual(JSON.parse(stdout), { ok: true });
    await left.run([LAUNCHER, "--require", "--stack=second", ...ECHO]);
    assert.equal(daemons(left).length, 2);
    const status = await left.run([CONTROL, "status", "--stack=second"]);
    assert.match(status.stdout, /stack "second"/);
    await left.run([CONTROL, "stop", "--stack=second"]);
    await left.run([CONTROL, "up"]);
  });

  it("is asked for the interfaces that a launch names", async () => {
    const name = left.interfaceName;
    await left.run([CONTROL, "down", name]);
    await left.run([LAUNCHER, "--require", `--interfaces=${name}`, ...ECHO]);
    const { stdout } = await left.run([CONTROL, "status", "--json"]);
    assert.deepEqual(
      (JSON.parse(stdout) as { interfaces: { name: string }[] }).interfaces.map((one) => one.name),
      [name],
    );
    const missing = await run(left, [LAUNCHER, "--require", "--interfaces=nosuch0", ...ECHO]);
    assert.deepEqual(
      [missing.stderr, missing.code],
      ["exasock: not accelerated: nosuch0: no such interface\n", 1],
    );
  });

  it("says why when it can't start", async () => {
    await stop(left);
    const powerless = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"];
    const { stdout, stderr, code } = await run(left, [...powerless, LAUNCHER, ...ECHO]);
    assert.deepEqual([stdout, code], ["ran:\n", 0]);
    const start = "exasock warning: not accelerated: exasockd could not start: ";
    assert.equal(stderr.slice(0, start.length), start);
    assert.match(stderr.slice(start.length), /^.+ \(log: \/run\/exasock\/default-\d+\.log\)\n$/);
  });

  it("is not trusted when it is somebody else's", async () => {
    const listen = `
import socket, time
one = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
one.bind("\\0exasock/default")
one.listen()
print("listens", flush=True)
time.sleep(60)`;
    const impostor = left.start([...AS_NOBODY, "python3", "-c", listen]);
    await impostor.waitForOutput("listens");
    const { stdout, stderr, code } = await run(left, [LAUNCHER, ...ECHO]);
    assert.deepEqual([stdout, code], ["ran:\n", 0]);
    const text =
      "exasock warning: not accelerated: a process of uid 65534 took exasockd's address\n";
    assert.equal(stderr, text);
    impostor.kill();
    await impostor.waitForExit();
  });
});
