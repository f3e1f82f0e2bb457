import assert from "node:assert/strict";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { AppError } from "../../src/cli/errors.ts";
import { findProgram, obstacleToPreload } from "../../src/cli/program.ts";
import { compileProgram } from "../support/compile.ts";

let folder = "";
const anybody = { uid: 1000, gid: 1000, hasCapabilities: () => false };
const isRoot = process.getuid?.() === 0;

function file(name: string, content: string | Uint8Array, mode = 0o755): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  chmodSync(path, mode);
  return path;
}

before(() => {
  folder = mkdtempSync(join(tmpdir(), "exasock-program-"));
});

after(() => {
  rmSync(folder, { recursive: true, force: true });
});

function refusal(command: string, path?: string): [string, number] {
  try {
    findProgram(command, path);
  } catch (error) {
    assert.ok(error instanceof AppError);
    return [error.message, error.exitStatus];
  }
  return ["", 0];
}

describe("finding a program", () => {
  it("searches PATH in order and skips what can't be executed", () => {
    for (const [name, mode] of [
      ["first", 0o644],
      ["second", 0o755],
      ["third", 0o755],
    ] as const) {
      mkdirSync(join(folder, name));
      file(`${name}/tool`, "", mode);
    }
    const path = ["", "/nonexistent", "first", "second", "third"];
    const search = path.map((one) => (one.startsWith("/") || one === "" ? one : join(folder, one)));
    assert.equal(findProgram("tool", search.join(":")), join(folder, "second/tool"));
  });

  it("takes a path as it is", () => {
    const path = file("direct", "");
    assert.equal(findProgram(path, ""), path);
  });

  it("searches the usual folders when PATH is not set", () => {
    assert.equal(findProgram("sh", undefined), "/bin/sh");
  });

  it("says what the shell says, with its exit statuses", () => {
    const plain = file("plain", "", 0o644);
    const directory = join(folder, "directory");
    mkdirSync(directory);
    symlinkSync("loop", join(folder, "loop"));
    assert.deepEqual(refusal("no-such-tool", folder), ["no-such-tool: command not found", 127]);
    assert.deepEqual(refusal("", folder), ['"": command not found', 127]);
    assert.deepEqual(refusal("./no-such-tool"), ["./no-such-tool: No such file or directory", 127]);
    assert.deepEqual(refusal(`${plain}/x`), [`${plain}/x: Not a directory`, 127]);
    assert.deepEqual(refusal(directory), [`${directory}: Is a directory`, 126]);
    assert.deepEqual(refusal("directory", folder), ["directory: command not found", 127]);
    const loop = join(folder, "loop");
    assert.deepEqual(refusal(loop), [`${loop}: Too many levels of symbolic links`, 126]);
    assert.deepEqual(refusal(plain), [`${plain}: Permission denied`, 126]);
    assert.deepEqual(refusal("plain", folder), ["plain: Permission denied", 126]);
  });

  it("keeps bytes that are not UTF-8", () => {
    const name = Buffer.from([0x61, 0xff]);
    const path = Buffer.concat([Buffer.from(`${folder}/`), name]);
    writeFileSync(path, "");
    chmodSync(path, 0o755);
    assert.equal(findProgram(name.toString("latin1"), folder), path.toString("latin1"));
  });
});

describe("what stands against preloading", () => {
  const reason = (path: string, identity = anybody) =>
    obstacleToPreload(path, identity)?.reason ?? null;

  it("is nothing for an ordinary program, or a script for one", () => {
    assert.equal(reason("/bin/sh"), null);
    assert.equal(reason(process.execPath), null);
    assert.equal(reason(file("script", "#!/bin/sh -e\n")), null);
    assert.equal(reason(file("nested", `#! ${join(folder, "script")} x\n`)), null);
  });

  it("is nothing for what only the kernel or a shell can judge", () => {
    assert.equal(reason(file("empty", "")), null);
    assert.equal(reason(file("text", "echo hello\n")), null);
    assert.equal(reason(file("itself", `#!${join(folder, "itself")}\n`)), null);
    assert.equal(reason(join(folder, "missing")), null);
  });

  it("is static linking", async () => {
    const source = "test/cli/quick-exit.c";
    const program = await compileProgram(source, ["-static", "-nostdlib"], { variant: "-static" });
    assert.deepEqual(obstacleToPreload(program, anybody), {
      reason: `${program} is statically linked`,
      preload: true,
    });
    const script = file("static-script", `#!${program}\n`);
    assert.equal(reason(script), `${program} is statically linked`);
  });

  it("is another C library or another word size: these would fail with the library", () => {
    const head = Buffer.alloc(64 + 56 + 64);
    head.writeUInt32BE(0x7f454c46, 0);
    head[4] = 2;
    head.writeBigUInt64LE(64n, 32);
    head.writeUInt16LE(56, 54);
    head.writeUInt16LE(1, 56);
    head.writeUInt32LE(3, 64);
    head.writeBigUInt64LE(120n, 64 + 8);
    head.writeBigUInt64LE(30n, 64 + 32);
    head.write("/lib/ld-musl-x86_64.so.1\0", 120);
    const musl = file("musl", head);
    assert.deepEqual(obstacleToPreload(musl, anybody), {
      reason: `${musl} does not use glibc (but /lib/ld-musl-x86_64.so.1)`,
      preload: false,
    });
    head[4] = 1;
    const small = file("small", head);
    assert.deepEqual(obstacleToPreload(small, anybody), {
      reason: `${small} is a 32-bit program`,
      preload: false,
    });
  });

  it("survives headers that lie", () => {
    const head = Buffer.alloc(64, 0xff);
    head.writeUInt32BE(0x7f454c46, 0);
    head[4] = 2;
    const lies = file("lies", head);
    assert.equal(reason(lies), `${lies} is statically linked`);
    assert.equal(reason(file("short", head.subarray(0, 40))), null);
  });

  it("is a gain of privileges", { skip: isRoot ? false : "needs root to own files" }, () => {
    const script = file("privileged-script", "#!/bin/sh\n", 0o4755);
    const program = file("privileged", "", 0o4755);
    const message = `${program} gains privileges when it starts (set-user-ID)`;
    assert.equal(reason(program), message);
    assert.equal(reason(program, { ...anybody, uid: 0 }), null, "root gains nothing");
    assert.equal(reason(script), null, "the kernel ignores the bit of scripts");
    chmodSync(program, 0o2755);
    assert.equal(reason(program), `${program} gains privileges when it starts (set-group-ID)`);
    chmodSync(program, 0o2745);
    assert.equal(reason(program), null, "without group execute it is another bit");
  });

  it("is file capabilities, unless root runs the program", () => {
    const withCapabilities = { ...anybody, hasCapabilities: () => true };
    const message = "/bin/sh gains privileges when it starts (file capabilities)";
    assert.equal(reason("/bin/sh", withCapabilities), message);
    assert.equal(reason("/bin/sh", { ...withCapabilities, uid: 0 }), null);
  });
});
