// The region's lock left behind by a process that died, as exasockd finds it. The "program" is a
// client slot, which a process claims or nobody does.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { describe, it } from "node:test";
import { native } from "../../src/daemon/native.ts";
import { Region } from "../../src/daemon/region.ts";
import { skipWithoutRoot } from "../support/privilege.ts";

const WAITERS_BIT = 0x80000000;
const OWNER_SLOT_BITS = 11;
/** Claims the slot that it is told, as a program does that joins, and lives until it is killed. */
const CLAIM = `import fcntl, sys, signal
fcntl.lockf(3, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, int(sys.argv[1]))
print("claimed", flush=True)
signal.pause()`;

async function claimant(region: Region, slot: number) {
  const child = spawn("/usr/bin/python3", ["-c", CLAIM, String(slot)], {
    stdio: ["ignore", "pipe", "inherit", region.memoryFd],
  });
  await once(child.stdout as NodeJS.ReadableStream, "data");
  return child;
}

describe("the lock of a dead program", { skip: skipWithoutRoot }, () => {
  const pool = { frameBytes: 2048, frameCount: 1024 };
  const open = () => Region.create({ stack: "lock-test", regionBytes: 128 << 20, pool });

  it("is taken over once the kernel says that nobody lives in its slot", async () => {
    const region = open();
    const { header, stack } = region;
    const slot = stack.clientAdd(4242);
    assert.ok(slot > 0);
    const owner = (1 << OWNER_SLOT_BITS) | (slot + 1);

    const child = await claimant(region, slot);
    header.lock = owner;
    assert.equal(native().coreClaimant(slot), child.pid);
    assert.equal(native().coreBury(), 0, "the lock of the living is left alone");
    assert.equal(header.lock, owner);
    child.kill("SIGKILL");
    await once(child, "exit");
    assert.equal(native().coreClaimant(slot), 0);
    assert.equal(native().coreBury(), 1);
    assert.equal(header.lock, 0);
    assert.equal(native().coreBury(), 0, "a free lock is nobody's");

    header.lock = (owner | WAITERS_BIT) >>> 0;
    // This would wait for ever if it did not look whether the owner lives.
    assert.equal(stack.hasWork(), 0);
    assert.equal(header.lock, 0);

    // An exasockd that died with the lock, and whose slot is ours now.
    header.lock = 1;
    assert.equal(native().coreBury(), 1);
    assert.equal(header.recoveries, 3n);
    stack.clientRemove(slot);
  });
});
