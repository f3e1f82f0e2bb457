// The functions of include/exasock/extensions.h, in the preloaded library and in the stub.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { constants } from "node:os";
import { test } from "node:test";
import { fromRoot } from "../../src/build/paths.ts";
import { needTool, runTool } from "../../src/build/run-tool.ts";
import { compileProgram } from "../support/compile.ts";

const BUILD = fromRoot("build");
const FLAGS = [`-I${fromRoot("include")}`, `-L${BUILD}`, "-lexasock_ext", `-Wl,-rpath,${BUILD}`];

async function run(environment: Record<string, string>): Promise<string> {
  const program = await compileProgram("test/shim/extensions.c", FLAGS);
  return execFileSync(program, { encoding: "utf8", env: { ...process.env, ...environment } });
}

test("without exasock the extensions fail as their header says", async () => {
  const failed = `-1 ${constants.errno.EOPNOTSUPP}, get -1`;
  const lines = [3, 2, 1, 0, -1, 4, 3].map((mode) => `set ${mode}: ${failed}`);
  const first = ["loaded 0, version 0, text none", "at first: -1"];
  assert.equal(await run({}), [...first, ...lines, "another thread: -1\n"].join("\n"));
});

for (const [mode, number] of [
  ["adaptive", 1],
  ["spin", 2],
  ["sleep", 3],
] as const) {
  test(`a thread chooses how it waits in a program that was started with ${mode}`, async () => {
    const { version } = JSON.parse(readFileSync(fromRoot("package.json"), "utf8"));
    const [major, minor, revision] = version.split(".").map(Number);
    const code = major * 65536 + minor * 256 + revision;
    const refused = `-1 ${constants.errno.EINVAL}, get ${number}`;
    assert.equal(
      await run({ LD_PRELOAD: fromRoot("build/libexasock.so"), EXASOCK_WAIT: mode }),
      [
        `loaded 1, version ${code}, text ${version}`,
        `at first: ${number}`,
        ...[3, 2, 1].map((one) => `set ${one}: 0 0, get ${one}`),
        `set 0: 0 0, get ${number}`,
        `set -1: ${refused}`,
        `set 4: ${refused}`,
        "set 3: 0 0, get 3",
        `another thread: ${number}\n`,
      ].join("\n"),
    );
  });
}

test("the header needs no other and serves C++ as well", async () => {
  const clang = needTool("clang", "clang");
  const header = fromRoot("include/exasock/extensions.h");
  for (const language of ["c", "c++"]) {
    await runTool(clang, ["-x", language, "-Wall", "-Wextra", "-Werror", "-fsyntax-only", header]);
  }
});
