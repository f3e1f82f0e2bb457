// What outlives an exasockd, without one: descriptors in a queue that a living process holds.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { fstatSync } from "node:fs";
import { describe, it } from "node:test";
import { BUILD_HASH_TEXT } from "../../build/gen/build-hash.ts";
import { check, native } from "../../src/daemon/native.ts";
import { Vault } from "../../src/daemon/vault.ts";
import { skipWithoutRoot } from "../support/privilege.ts";

const PAGE = 4096;

/** What another process finds under this name: a line of JSON, or the error's message. */
function openElsewhere(stack: string): string {
  const script = `
    import { fstatSync } from "node:fs";
    import { Vault } from ${JSON.stringify(new URL("../../src/daemon/vault.ts", import.meta.url))};
    try {
      const { legacy } = Vault.open(${JSON.stringify(stack)});
      const sizes = legacy?.fds.map((fd) => fstatSync(fd).size);
      console.log(JSON.stringify({ bytes: legacy?.deposit.regionBytes, sizes, pid: legacy?.pid }));
    } catch (error) {
      console.log(error.message);
    }`;
  const args = ["--import", "tsx", "--input-type=module", "-e", script];
  const { stdout, stderr } = spawnSync(process.execPath, args, { encoding: "utf8" });
  assert.equal(stderr, "");
  return stdout.trim();
}

function deposit(regionBytes: number, build = BUILD_HASH_TEXT) {
  return { build, regionBytes, excluded: [], interfaces: [] };
}

function file(pages: number): number {
  return check(native().memfdCreate("vault-test", pages * PAGE), "memfd");
}

describe("the vault", { skip: skipWithoutRoot }, () => {
  const name = (what: string) => `vault-${what}-${process.pid}`;

  it("gives another process what was deposited last, as often as it is asked", () => {
    const vault = Vault.open(name("newest"));
    assert.equal(vault.legacy, undefined);
    vault.put(deposit(1), [file(1)]);
    vault.put(deposit(2), [file(2), file(3)]);
    const found = JSON.stringify({ bytes: 2, sizes: [2 * PAGE, 3 * PAGE], pid: process.pid });
    assert.equal(openElsewhere(name("newest")), found);
    assert.equal(openElsewhere(name("newest")), found);
  });

  it("has the new deposit when its keeper died before it took the old one out", () => {
    const vault = Vault.open(name("torn"));
    for (const bytes of [1, 2]) {
      const text = Buffer.from(JSON.stringify(deposit(bytes)));
      check(native().send(vault.fds[1], text, [file(bytes)], null), "deposit");
    }
    assert.match(openElsewhere(name("torn")), /"bytes":2,"sizes":\[8192\]/);
    assert.match(openElsewhere(name("torn")), /"bytes":2,"sizes":\[8192\]/);
  });

  it("is not taken over by another build, which says why", () => {
    const vault = Vault.open(name("build"));
    vault.put(deposit(1, "0123456789abcdef"), [file(1)]);
    assert.match(openElsewhere(name("build")), /are of build 0123456789abcdef, not .*end them/);
    assert.ok(fstatSync(vault.fds[0]).isSocket());
  });

  it("is empty, and free for the next, after it was closed on purpose", () => {
    const vault = Vault.open(name("closed"));
    vault.put(deposit(1), [file(1)]);
    // A program that has not noticed the end yet.
    const pidfd = check(native().pidfdOpen(process.pid), "pidfd");
    const kept = vault.fds.map((fd) => check(native().pidfdGetfd(pidfd, fd), "copy"));
    vault.close();
    assert.equal(openElsewhere(name("closed")), "{}");
    for (const fd of [...kept, pidfd]) native().close(fd);
    assert.equal(Vault.open(name("closed")).legacy, undefined);
  });
});
