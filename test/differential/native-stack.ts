// The native library as a stack for tests: the region is a memory file of this process, and its
// rings are plain memory, served by TypeScript as in V8.

import { ftruncateSync, openSync, unlinkSync } from "node:fs";
import type { StackExports } from "../../build/gen/layout.ts";
import type { StackInstance } from "../../src/core/instance.ts";
import { checkValue, native } from "../../src/daemon/native.ts";

/** Makes stacks of `bytes` of memory, one after the other: the addon has one region per process. */
export function nativeStacks(bytes: number): () => StackInstance {
  const name = `exasock-differential-${process.pid}`;
  // Not a region's file, whose size never changes: that is how this one becomes fresh again.
  const fd = openSync(`/dev/shm/${name}`, "wx+", 0o600);
  unlinkSync(`/dev/shm/${name}`);
  ftruncateSync(fd, bytes);
  const memory = checkValue(native().coreMap(fd, BigInt(bytes), name), "mapping the region");
  const view = new DataView(memory);
  const calls = native().stack as unknown as StackExports;
  return () => {
    // Fresh memory is all zero: the file's pages are given back.
    ftruncateSync(fd, 0);
    ftruncateSync(fd, bytes);
    return { calls, memory, view };
  };
}
