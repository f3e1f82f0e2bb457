// The launcher's own mistakes and messages: no namespace is needed, since nothing gets to run.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { SETTINGS } from "../../src/cli/settings.ts";
import { LAUNCHER } from "../support/exasock.ts";

const USAGE = "usage: exasock [OPTION...] COMMAND [ARG...]   (exasock --help explains)\n";
let folder = "";

function exasock(args: string[], env: Record<string, string> = {}, launcher = LAUNCHER) {
  const result = spawnSync(launcher, args, { env: { ...process.env, ...env }, encoding: "utf8" });
  return [result.stderr, result.status] as const;
}

before(() => {
  folder = mkdtempSync(join(tmpdir(), "exasock-cli-"));
});

after(() => {
  rmSync(folder, { recursive: true, force: true });
});

describe("exasock", () => {
  it("wants a command", () => {
    assert.deepEqual(exasock([]), [`exasock: COMMAND is missing\n${USAGE}`, 1]);
    assert.deepEqual(exasock(["--debug"]), [`exasock: COMMAND is missing\n${USAGE}`, 1]);
  });

  it("shows usage for options that it does not know", () => {
    const [text, status] = exasock(["--turbo-mode", "true"]);
    assert.equal(text, `exasock: unknown option '--turbo-mode'\n${USAGE}`);
    assert.equal(status, 1);
  });

  it("rejects values that it does not know", () => {
    assert.deepEqual(exasock(["--wait=fast", "true"]), [
      'exasock: option --wait must be spin, adaptive or sleep, not "fast"\n',
      1,
    ]);
    assert.deepEqual(exasock(["true"], { EXASOCK_INTERFACES: "a b" }), [
      "exasock: EXASOCK_INTERFACES must be interfaces (eth0, eth0:2-3) with ',', not \"a b\"\n",
      1,
    ]);
  });

  it("explains each option and variable in its help", () => {
    const { stdout, status } = spawnSync(LAUNCHER, ["--help"], { encoding: "utf8" });
    assert.equal(status, 0);
    for (const { option, variable } of SETTINGS) {
      assert.ok(stdout.includes(option), option);
      assert.ok(stdout.includes(variable), variable);
    }
    for (const line of stdout.split("\n")) assert.ok(line.length <= 100, line);
  });

  it("tells its version", () => {
    const { stdout, status } = spawnSync(LAUNCHER, ["--version"], { encoding: "utf8" });
    assert.match(stdout, /^exasock \d+\.\d+\.\d+\n$/);
    assert.equal(status, 0);
  });

  it("reports a command that can't be run as the shell would", () => {
    assert.deepEqual(exasock(["no-such-command"]), [
      "exasock: no-such-command: command not found\n",
      127,
    ]);
    assert.deepEqual(exasock(["/"]), ["exasock: /: Is a directory\n", 126]);
    const plain = join(folder, "plain");
    writeFileSync(plain, "", { mode: 0o644 });
    assert.deepEqual(exasock([plain]), [`exasock: ${plain}: Permission denied\n`, 126]);
  });

  it("looks for the library where EXASOCK_PATH says, and nowhere else", () => {
    assert.deepEqual(exasock(["true"], { EXASOCK_PATH: folder }), [
      "Error: could not find libexasock.so\n" +
        "EXASOCK_PATH must name the folder that holds it.\n",
      1,
    ]);
  });

  it("says so when the library's path can't be named in LD_PRELOAD", () => {
    const odd = mkdtempSync(join(folder, "odd "));
    writeFileSync(join(odd, "libexasock.so"), "");
    assert.deepEqual(exasock(["true"], { EXASOCK_PATH: odd }), [
      `Error: LD_PRELOAD can't name ${odd}/libexasock.so: a space or ':' is in its path\n`,
      1,
    ]);
  });

  it("can be started through symbolic links", () => {
    const link = join(folder, "link");
    symlinkSync(LAUNCHER, join(folder, "first"));
    symlinkSync("first", link);
    const { stdout } = spawnSync(link, ["--version"], { encoding: "utf8" });
    assert.match(stdout, /^exasock \d/);
  });

  it("names the command to run when it was not built", () => {
    const bin = join(folder, "bin");
    spawnSync("mkdir", [bin]);
    spawnSync("cp", [LAUNCHER, bin]);
    assert.deepEqual(exasock(["true"], {}, join(bin, "exasock")), [
      `exasock: not built yet: run "npm run build" in ${folder}\n`,
      1,
    ]);
  });
});
