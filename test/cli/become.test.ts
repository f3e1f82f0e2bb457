// exasock becomes the program: each aspect of a process is looked at without exasock first, then
// with it, on a host whose interface is accelerated. The two must agree.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { type Host, Network } from "../../src/lab/network.ts";
import type { Outcome } from "../../src/lab/program.ts";
import { compileProgram } from "../support/compile.ts";
import { LAUNCHER } from "../support/exasock.ts";
import { skipWithoutRoot } from "../support/privilege.ts";

let network: Network;
let host: Host;

/** Runs a shell script on the host; `$exasock` in it is what stands before the program. */
async function shell(script: string, exasock: string, shellName = "sh"): Promise<Outcome> {
  const program = host.start([shellName, "-c", script], { environment: { exasock } });
  program.endInput();
  return program.waitForExit();
}

/** Runs the script without and with exasock and compares outputs and endings. Returns them. */
async function same(script: string, shellName?: string): Promise<Outcome> {
  const plain = await shell(script, "", shellName);
  const accelerated = await shell(script, `${LAUNCHER} --require`, shellName);
  assert.deepEqual(accelerated, plain);
  return plain;
}

describe("the program that exasock becomes", { skip: skipWithoutRoot }, () => {
  before(async () => {
    network = await Network.create();
    host = network.host("left");
  });

  after(() => {
    network.closeNow();
  });

  it("really is accelerated in these tests", async () => {
    const script = `$exasock sh -c 'echo "$LD_PRELOAD" "$EXASOCK_REQUIRE"'`;
    const { stdout, stderr } = await shell(script, `${LAUNCHER} --require`);
    assert.match(stdout, /^\/.*\/libexasock\.so 1\n$/);
    assert.equal(stderr, "");
  });

  it("keeps the process", async () => {
    const { stdout } = await same(`echo $$ | sh -c 'read -r pid; exec $exasock sh -c "echo ok"'`);
    assert.equal(stdout, "ok\n");
    const program = host.start([LAUNCHER, "sh", "-c", "echo $$; exec cat"]);
    await program.waitForOutput("\n");
    assert.equal(program.stdout, `${program.pid}\n`);
    program.endInput();
    await program.waitForSuccess();
  });

  it("has no child that it did not start", async () => {
    const script = `$exasock sh -c 'read -r pids </proc/$$/task/$$/children; echo "$pids"'`;
    assert.equal((await same(script)).stdout, "\n");
  });

  it("passes its exit status on", async () => {
    for (const status of [0, 1, 7, 126, 127, 255]) {
      assert.equal((await same(`exec $exasock sh -c 'exit ${status}'`)).code, status);
    }
  });

  it("dies of the signals that kill it", async () => {
    for (const signal of ["TERM", "KILL", "SEGV", "PIPE"] as const) {
      const { signal: died } = await same(`exec $exasock sh -c 'kill -${signal} $$'`);
      assert.equal(died, `SIG${signal}`);
    }
  });

  it("gets signals from outside", async () => {
    const command = [
      "sh",
      "-c",
      "trap 'echo caught; exit 5' TERM; echo ready; while :; do sleep 0.02; done",
    ];
    const program = host.start([LAUNCHER, ...command]);
    await program.waitForOutput("ready");
    program.kill("SIGTERM");
    const { stdout, code } = await program.waitForExit();
    assert.deepEqual([stdout, code], ["ready\ncaught\n", 5]);
  });

  it("gets its arguments byte by byte", async () => {
    const odd = [
      `''`,
      `' '`,
      `'a  b'`,
      `'"'`,
      `"'"`,
      `'$HOME'`,
      `'*'`,
      `'\\'`,
      `--debug`,
      `--`,
      `-`,
      `"$(printf '\\377\\200')"`,
      `"$(printf 'x\\ny')"`,
      `'grüße'`,
    ];
    const { stdout } = await same(`$exasock printf '[%s]' ${odd.join(" ")} | od -An -tx1`);
    assert.ok(stdout.replaceAll(/\s/g, "").includes("5bff805d"));
  });

  it("gets its environment byte by byte, but for what exasock adds", async () => {
    const script = `
      export odd="$(printf '\\377')" empty= NODE_OPTIONS=--trace-gc newline='a
b'
      $exasock env -0 | tr '\\n\\0' '|\\n' | grep -vE '^(LD_PRELOAD|EXASOCK_REQUIRE|exasock|_)=' |
        sort | od -An -tx1`;
    await same(script);
    const { stdout } = await shell(`$exasock env`, LAUNCHER);
    assert.ok(!stdout.includes("EXASOCK_LAUNCH"), "the launcher's own notes are gone");
  });

  it("keeps other preloaded libraries, after ours", async () => {
    const script = `LD_PRELOAD=/lib/a.so $exasock sh -c 'echo "$LD_PRELOAD"' 2>/dev/null`;
    const { stdout } = await shell(script, LAUNCHER);
    assert.match(stdout, /^\S*\/libexasock\.so:\/lib\/a\.so\n$/);
  });

  it("is preloaded once when exasock runs under exasock", async () => {
    const script = `$exasock $exasock sh -c 'echo "$LD_PRELOAD"'`;
    const { stdout } = await shell(script, LAUNCHER);
    assert.match(stdout, /^[^:]*\/libexasock\.so\n$/);
  });

  it("gets the limit of open files that the user has", async () => {
    const { stdout } = await same(`ulimit -Sn 123; exec $exasock sh -c 'ulimit -Sn; ulimit -Hn'`);
    assert.match(stdout, /^123\n/);
  });

  it("gets the signals as they were: by default, ignored, blocked", async () => {
    const show = `grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status`;
    assert.match((await same(`$exasock ${show}`)).stdout, /SigIgn:\t0{16}/);
    const { stdout } = await same(`trap '' HUP USR1 PIPE; exec $exasock ${show}`);
    assert.match(stdout, /SigIgn:\t0{12}1201/);
    const python = `
import os, signal, sys
signal.pthread_sigmask(signal.SIG_SETMASK, [signal.SIGUSR2, signal.SIGRTMIN + 3])
os.execvp("sh", ["sh", "-c", "exec $exasock ${show}"])`;
    assert.match((await same(python, "python3")).stdout, /SigBlk:\t000000100000080{2}/);
  });

  it("gets the descriptors that were passed on, and no others", async () => {
    const list = `sh -c 'cd /proc/$$/fd && for fd in *; do echo $fd $(readlink $fd); done'`;
    const lines = `sed 's/[0-9]*\\]$//'`;
    await same(
      `exec 5</dev/null 20>/dev/null; $exasock ${list} 2>&1 </dev/null | ${lines}`,
      "bash",
    );
    await same(`$exasock ${list} <&- | ${lines}`);
    await same(`$exasock ${list} 2>&- | ${lines}`);
    const { stdout } = await same(`exec 7</dev/null; exec $exasock ${list} | ${lines}`);
    assert.match(stdout, /^7 \/dev\/null$/m);
  });

  it("finds pipes and terminals as they were: nothing becomes non-blocking", async () => {
    const flags = `grep flags /proc/self/fdinfo/0 /proc/self/fdinfo/1 /proc/self/fdinfo/2`;
    await same(`echo | { $exasock true; ${flags}; } 2>&1 | cat`);
    await same(`echo | { $exasock ${flags}; } 2>&1 | cat`);
    const terminal = `script -qec "sh -c '$exasock stty -a; ${flags}; stty -a'" /dev/null`;
    const { stdout } = await same(terminal);
    assert.match(stdout, /speed \d+ baud/);
  });

  it("keeps the terminal's foreground", async () => {
    const script = `script -qec "sh -c '$exasock ps -o stat= -p \\$\\$'" /dev/null | tr -d ' '`;
    await same(script);
  });

  it("may be a script without #!, as for a shell", async () => {
    const path = `/tmp/exasock-script-${process.pid}`;
    const make = `printf 'echo "$0 $1 $#"\\n' > ${path}; chmod +x ${path}`;
    const { stdout } = await same(`${make}; env $exasock ${path} one two; rm ${path}`);
    assert.equal(stdout, `${path} one 2\n`);
  });

  it("may be any name that the shell would find", async () => {
    await same(`cd /usr/bin; $exasock ./env true; PATH=/nowhere:/usr/bin $exasock env true`);
  });

  it("can't be accelerated when statically linked: a line says so, and it runs", async () => {
    const program = await compileProgram("test/cli/quick-exit.c", ["-static", "-nostdlib"], {
      variant: "-static",
    });
    const warning = `not accelerated: ${program} is statically linked\n`;
    assert.deepEqual(await shell(`exec $exasock ${program}`, LAUNCHER), {
      code: 7,
      signal: null,
      stdout: "static\n",
      stderr: `exasock warning: ${warning}`,
    });
    assert.deepEqual(await shell(`exec $exasock ${program}`, `${LAUNCHER} --no-warn`), {
      code: 7,
      signal: null,
      stdout: "static\n",
      stderr: "",
    });
    assert.deepEqual(await shell(`exec $exasock ${program}`, `${LAUNCHER} --require`), {
      code: 1,
      signal: null,
      stdout: "",
      stderr: `exasock: ${warning}`,
    });
  });
});
