import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { allSteps } from "../../src/build/all-steps.ts";
import { compileStack } from "../../src/build/asc.ts";
import { readCalls } from "../../src/build/calls.ts";
import { fromRoot, ROOT } from "../../src/build/paths.ts";
import { needTool } from "../../src/build/run-tool.ts";
import { blankForceReads } from "../../src/build/wasm2c.ts";

function runSetup(path: string, ...args: string[]): { status: number | null; stderr: string } {
  const setup = fromRoot("src/build/setup.mjs");
  const env = { ...process.env, PATH: path };
  return spawnSync(process.execPath, [setup, ...args], { env, encoding: "utf8" });
}

describe("the build", () => {
  it("runs no step when nothing has changed", () => {
    const args = ["--import", "tsx", fromRoot("src/build/main.ts")];
    const output = execFileSync(process.execPath, args, { cwd: ROOT, encoding: "utf8" });
    assert.match(output, /^build: 0 steps ran, \d+ were up to date \(/);
  });

  it("makes every product", () => {
    const names = new Set(allSteps().map((step) => step.name));
    const products = ["stack.wasm", "libexasock.so", "exasock.node", "steer.bpf.o", "js"];
    for (const product of products) assert.ok(names.has(product), product);
  });

  it("names the Debian package of a missing tool", () => {
    assert.throws(() => needTool("no-such-tool", "no-such-package"), {
      name: "BuildError",
      message: "no-such-tool is missing: apt-get install no-such-package",
    });
  });

  it("blanks the FORCE_READ macros in what wasm2c writes, exactly once", () => {
    const product = readFileSync(fromRoot("build/stack.c"), "utf8");
    assert.match(product, /^#define FORCE_READ_INT\(var\)$/m);
    assert.doesNotMatch(product, /FORCE_READ_\w+\(var\) __asm__/);
    assert.throws(() => blankForceReads(product), /0 blocks of FORCE_READ macros/);
  });
});

describe("compiling AssemblyScript", () => {
  async function compile(source: string): Promise<unknown> {
    const virtualFiles = { "virtual.ts": source };
    return await compileStack({ entry: "virtual.ts", target: "describe", virtualFiles });
  }

  it("fails on an error and says where it is", async () => {
    const source = "export function f(): u32 {\n  return missing;\n}\n";
    await assert.rejects(compile(source), /^BuildError: stack\/virtual\.ts:2:10: Cannot find name/);
  });

  it("fails on a warning, too", async () => {
    const source = 'export function f(): u32 {\n  WARNING("odd");\n  return 1;\n}\n';
    await assert.rejects(compile(source), /virtual\.ts:2:\d+: User-defined: "odd"/);
  });
});

describe("the setup", () => {
  it("says in one line which packages to install when it can't do so", () => {
    const { status, stderr } = runSetup("/nonexistent", "build");
    assert.equal(status, 1);
    assert.match(stderr, /^setup: packages are missing; run as root: apt-get install clang .*\n$/);
  });

  it("names the commands it knows", () => {
    const { status, stderr } = runSetup(process.env.PATH ?? "", "nonsense");
    assert.equal(status, 1);
    assert.match(stderr, /^setup: unknown command nonsense; there are: .*\n$/);
  });
});

describe("calls.def", () => {
  it("is read through comments and line breaks", () => {
    const table = `/* CALL(int, no, (void), (), FD, no, NONE) */
CALL(int, socket, (int domain, int type, int protocol), (domain, type, protocol),
     ALWAYS, socket, SYS_socket)
CALL(ssize_t, __recv_chk, (int fd), (fd), FD, recv_chk, NONE)
`;
    const [first, second] = readCalls(table);
    assert.deepEqual(first, {
      name: "socket",
      prototype: "int domain, int type, int protocol",
      kind: "ALWAYS",
      handler: "socket",
      systemCall: "SYS_socket",
    });
    assert.equal(second?.name, "__recv_chk");
    assert.equal(second?.systemCall, undefined);
  });

  it("reports an entry with a missing part", () => {
    assert.throws(() => readCalls("CALL(int, dup, (int fd), (fd), FD, dup)"), /dup has 6 parts/);
  });

  it("is what the library exports, and nothing else", () => {
    const calls = readCalls(readFileSync(fromRoot("native/shim/calls.def"), "utf8"));
    const args = ["-D", "--defined-only", "--format=posix", fromRoot("build/libexasock.so")];
    const lines = execFileSync("nm", args, { encoding: "utf8" }).trim().split("\n");
    const exported = lines.map((line) => line.split(" ")[0] ?? "");
    assert.deepEqual(exported.sort(), calls.map((one) => one.name).sort());
  });
});
