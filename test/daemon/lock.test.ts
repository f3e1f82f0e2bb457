// The region's lock left behind by a program that died, as exasockd finds it. The "program" is a
// slot whose control connection is closed.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { check, native } from "../../src/daemon/native.ts";
import { Region } from "../../src/daemon/region.ts";
import { skipWithoutRoot } from "../support/privilege.ts";

const AF_UNIX = 1;
const SOCK_SEQPACKET = 5;
const WAITERS_BIT = 0x80000000;

/** Two ends of a connection at an address of the kernel's choice. */
function connectionPair(): [number, number] {
  const listener = check(native().socket(AF_UNIX, SOCK_SEQPACKET, 0), "socket");
  const address = Buffer.concat([Buffer.of(AF_UNIX, 0), Buffer.from(`\0lock-${process.pid}`)]);
  check(native().bind(listener, address), "bind");
  check(native().listen(listener, 1), "listen");
  const near = check(native().socket(AF_UNIX, SOCK_SEQPACKET, 0), "socket");
  check(native().connect(near, address), "connect");
  const far = check(native().accept(listener), "accept");
  native().close(listener);
  return [near, far];
}

describe("the lock of a dead program", { skip: skipWithoutRoot }, () => {
  const open = () =>
    new Region({
      stack: "lock-test",
      regionBytes: 128 << 20,
      pool: { frameBytes: 2048, frameCount: 1024 },
    });

  it("is taken over when the connection ends, and while exasockd waits for it", () => {
    const region = open();
    const { header, stack } = region;
    const slot = stack.clientAdd(4242);
    assert.ok(slot > 0);

    header.lock = slot + 1;
    assert.equal(native().coreRecover(slot + 1), 0, "another client's lock is left alone");
    assert.equal(header.lock, slot + 1);
    assert.equal(native().coreRecover(slot), 1);
    assert.equal(header.lock, 0);
    assert.equal(native().coreRecover(slot), 0, "a free lock is nobody's");

    const [near, far] = connectionPair();
    native().coreSetClient(slot, near);
    native().close(far);
    header.lock = slot + 1 + WAITERS_BIT;
    // This would wait for ever if it did not look at the owner's connection.
    assert.equal(stack.hasWork(), 0);
    assert.equal(header.lock, 0);
    assert.equal(header.recoveries, 2n);
    native().coreSetClient(slot, 0);
    native().close(near);
    stack.clientRemove(slot);
  });
});
