import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { after, before, describe, it } from "node:test";
import { z } from "zod";
import { type Host, Network } from "../../src/lab/network.ts";
import { CONTROL, LAUNCHER } from "../support/exasock.ts";
import { skipWithoutRoot } from "../support/privilege.ts";

const USAGE =
  "usage: exasockctl up|down|status|doctor|stop [OPTION...]   (exasockctl --help explains)\n";
const NOT_RUNNING = "exasockd does not run in this network namespace";

const count = z.int().nonnegative();
const counters = z.record(z.string(), count);
const statusSchema = z.strictObject({
  ok: z.literal(true),
  pid: z.int().positive(),
  stack: z.literal("default"),
  build: z.string().regex(/^[0-9a-f]{16}$/),
  uptimeSeconds: count,
  region: z.strictObject({ bytes: count, frameBytes: count, frames: count, freeFrames: count }),
  pumping: z.boolean(),
  endsHeard: z.boolean(),
  interfaces: z.array(
    z.strictObject({
      name: z.string(),
      ifindex: count,
      mtu: count,
      mac: z.string().regex(/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/),
      up: z.boolean(),
      kind: z.string(),
      mode: z.enum(["native", "generic"]),
      nativeProblem: z.string(),
      zeroCopy: z.boolean(),
      queues: z.array(
        z.strictObject({
          queue: count,
          slot: count,
          state: z.string(),
          zeroCopy: z.boolean(),
          posted: count,
          inFlight: count,
          rxFrames: count,
          txFrames: count,
          kernel: counters,
        }),
      ),
      counters,
    }),
  ),
  unusable: z.array(z.strictObject({ name: z.string(), reason: z.string() })),
  programs: z.array(
    z.strictObject({ pid: count, uid: count, command: z.string(), slot: z.int().positive() }),
  ),
  sockets: z.array(
    z.strictObject({
      ...{ cookie: z.string().regex(/^\d+$/), protocol: count, state: z.string(), pid: count },
      ...{ local: z.string().regex(/:\d+$/), remote: z.string() },
      ...{ queuedDatagrams: count, queuedBytes: count, receiveBufferBytes: count },
      keptFrames: count,
      ...{ sendBytes: count, received: count, drops: count, sent: count, sentViaKernel: count },
    }),
  ),
  socketCount: count,
  counters,
});
const doctorSchema = z.strictObject({
  ok: z.boolean(),
  findings: z.array(
    z.strictObject({
      level: z.enum(["ok", "warn", "fail"]),
      subject: z.string().min(1),
      message: z.string().min(1),
      advice: z.string(),
    }),
  ),
});

function exasockctl(...args: string[]) {
  const { stdout, stderr, status } = spawnSync(CONTROL, args, { encoding: "utf8" });
  return { stdout, stderr, status };
}

describe("the command line of exasockctl", () => {
  it("shows usage for what it does not know", () => {
    const complaints: [string[], string][] = [
      [[], "COMMAND is missing"],
      [["restart"], "unknown command 'restart'"],
      [["statsu"], "unknown command 'statsu' (Did you mean status?)"],
      [["status", "--yaml"], "unknown option '--yaml'"],
      [["status", "eth0"], "too many arguments for 'status'. Expected 0 arguments but got 1."],
      [["status", "--stack"], "option --stack needs a value"],
      [["status", "--stack=a/b"], "\"a/b\" can't be a stack's name"],
      [["up", "a/b"], '"a/b" is not an interface name'],
      [["down", "eth0", ""], '"" is not an interface name'],
    ];
    for (const [args, text] of complaints) {
      const expected = { stdout: "", stderr: `exasockctl: ${text}\n${USAGE}`, status: 1 };
      assert.deepEqual(exasockctl(...args), expected, args.join(" "));
    }
  });

  it("checks the environment as exasock does", () => {
    const env = { ...process.env, EXASOCK_STACK: "a b" };
    const { stderr, status } = spawnSync(CONTROL, ["status"], { env, encoding: "utf8" });
    assert.match(stderr, /^exasockctl: EXASOCK_STACK must be .*, not "a b"\n$/);
    assert.equal(status, 1);
  });

  it("ends without a fuss when nobody reads its output, and complains when it can't be kept", () => {
    for (const command of [`${CONTROL} --help`, `${CONTROL} status`, `${LAUNCHER} --help`]) {
      const pipe = spawnSync("sh", ["-c", `${command} | true`], { encoding: "utf8" });
      assert.deepEqual([pipe.stdout, pipe.stderr], ["", ""], command);
      const full = spawnSync("sh", ["-c", `${command} >/dev/full`], { encoding: "utf8" });
      const name = command.includes("exasockctl") ? "exasockctl" : "exasock";
      assert.equal(full.stderr, `${name}: can't write the output (ENOSPC)\n`);
      assert.equal(full.status, 1);
    }
  });

  it("explains itself", () => {
    const { stdout, stderr, status } = exasockctl("--help");
    assert.deepEqual([stderr, status], ["", 0]);
    for (const name of ["up", "down", "status", "doctor", "stop"]) {
      assert.match(stdout, new RegExp(`^  ${name} `, "m"));
      const help = exasockctl(name, "--help");
      assert.deepEqual([help.stderr, help.status], ["", 0]);
      assert.match(help.stdout, /--json/);
    }
    assert.match(exasockctl("--version").stdout, /^exasockctl \d+\.\d+\.\d+\n$/);
  });
});

describe("exasockctl", { skip: skipWithoutRoot }, () => {
  let network: Network;
  let host: Host;

  async function control(...args: string[]) {
    const program = host.start([CONTROL, ...args]);
    program.endInput();
    const { stdout, stderr, code } = await program.waitForExit();
    return { stdout, stderr, code };
  }

  before(async () => {
    network = await Network.create();
    host = network.host("left");
  });

  after(() => {
    network.closeNow();
  });

  it("says when no exasockd runs, each command in its way", async () => {
    const none = { stdout: "", stderr: `exasockctl: ${NOT_RUNNING}\n`, code: 1 };
    const status = await control("status");
    assert.deepEqual(status, { stdout: `${NOT_RUNNING}\n`, stderr: "", code: 3 });
    const json = await control("status", "--json");
    assert.deepEqual(JSON.parse(json.stdout), { ok: false, error: NOT_RUNNING });
    assert.equal(json.code, 3);
    assert.deepEqual(await control("down"), none);
    const stop = await control("stop");
    assert.deepEqual(stop, { stdout: `${NOT_RUNNING}\n`, stderr: "", code: 0 });
  });

  it("starts the stack, and stops it", async () => {
    assert.deepEqual(await control("up"), { stdout: "exasockd started\n", stderr: "", code: 0 });
    assert.deepEqual(await control("up"), { stdout: "done\n", stderr: "", code: 0 });
    assert.deepEqual(await control("stop"), { stdout: "stopped\n", stderr: "", code: 0 });
    assert.equal((await control("status")).code, 3);
  });

  it("has the stack take interfaces and give them back", async () => {
    const name = host.interfaceName;
    const used = async () => {
      const { stdout } = await control("status", "--json");
      return statusSchema.parse(JSON.parse(stdout)).interfaces.map((one) => one.name);
    };
    assert.equal((await control("up", name)).code, 0);
    assert.deepEqual(await used(), [name]);
    const json = await control("down", name, "--json");
    assert.deepEqual(JSON.parse(json.stdout), { ok: true });
    assert.deepEqual(await used(), []);
    assert.equal((await control("up", name)).code, 0);
    assert.deepEqual(await used(), [name]);
    const { stderr, code } = await control("up", "nosuch0");
    assert.deepEqual([stderr, code], ["exasockctl: nosuch0: no such interface\n", 1]);
    const lo = await control("down", "lo");
    assert.deepEqual([lo.stderr, lo.code], ["exasockctl: lo is not used by this stack\n", 1]);
    await control("stop");
  });

  it("shows programs and sockets", async () => {
    const program = host.start([LAUNCHER, "nc", "-u", "-l", "7007"]);
    await host.waitForUdpPort(7007);
    const { stdout } = await control("status", "--json");
    const status = statusSchema.parse(JSON.parse(stdout));
    assert.deepEqual(
      status.programs.map(({ pid, uid, command }) => [pid, uid, command]),
      [[program.pid, 0, "nc"]],
    );
    assert.deepEqual(
      status.sockets.map(({ local, remote, pid, protocol }) => [local, remote, pid, protocol]),
      [["*:7007", "", program.pid, 17]],
    );
    const text = (await control("status")).stdout;
    assert.match(text, /^udp +bound +\*:7007 +- .* nc$/m);
    assert.match(text, new RegExp(`^${host.interfaceName} +up +native XDP +copy +1 +1500 `, "m"));
    program.kill();
    await program.waitForExit();
  });

  it("prints one line for each finding of doctor, and JSON when asked", async () => {
    const { stdout, code } = await control("doctor", "--json");
    const { ok, findings } = doctorSchema.parse(JSON.parse(stdout));
    assert.equal(code, ok ? 0 : 1);
    const text = await control("doctor");
    assert.equal(text.code, code);
    for (const { level, subject, message } of findings) {
      const isLine = (line: string) =>
        line.startsWith(level) && line.includes(subject) && line.endsWith(message);
      assert.ok(text.stdout.split("\n").some(isLine), `${subject}: ${message}`);
    }
    const own = findings.find(({ subject }) => subject === `interface ${host.interfaceName}`);
    assert.match(own?.message ?? "", /^in use: native XDP, copy mode, MTU 1500$/);
  });

  it("colours only on a terminal, and not with NO_COLOR", async () => {
    assert.ok(!(await control("doctor")).stdout.includes("\x1b"));
    const terminal = (env: string) => ["script", "-qec", `${env} ${CONTROL} doctor`, "/dev/null"];
    const plain = host.start(terminal("NO_COLOR=1"));
    const coloured = host.start(terminal("NO_COLOR="));
    for (const program of [plain, coloured]) program.endInput();
    assert.ok(!(await plain.waitForExit()).stdout.includes("\x1b[32m"));
    assert.ok((await coloured.waitForExit()).stdout.includes("\x1b[32mok"));
  });
});
