// The same scripts on the module in V8 and on the library that programs load: the same frames at
// the same times, byte for byte, and the same results of every call.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { StackExports } from "../../build/gen/layout.ts";
import type { StackFactory } from "../../src/script/machine.ts";
import type { Fence } from "../../src/script/markdown.ts";
import { type RunResult, runScript } from "../../src/script/runner.ts";
import { allScripts, makeStack } from "../support/packet-scripts.ts";
import { nativeStacks } from "./native-stack.ts";

const makeNative = nativeStacks(makeStack().memory.byteLength);
const scripts = allScripts();

/** What differs between runs on two stacks, as it stands and split; undefined: nothing. */
function difference({ script, exact }: Fence, one: StackFactory, other: StackFactory) {
  const plain = { mode: "plain" as const, exact };
  const first = runScript(script, { ...plain, makeStack: one });
  assert.equal(first.failure, undefined);
  assert.notEqual(first.trace.length, 0);
  const found = firstDifference(first, runScript(script, { ...plain, makeStack: other }));
  if (found !== undefined) return found;
  const split = { mode: "split" as const, exact, shared: first.shared };
  const second = runScript(script, { ...split, makeStack: one });
  return firstDifference(second, runScript(script, { ...split, makeStack: other }));
}

function firstDifference(one: RunResult, other: RunResult): string | undefined {
  const at = one.trace.findIndex((line, index) => line !== other.trace[index]);
  if (at < 0 && one.trace.length === other.trace.length) return undefined;
  return `one: ${one.trace[at]}\nother: ${other.trace[at < 0 ? one.trace.length : at]}`;
}

describe("V8 and the native library do the same", () => {
  for (const fence of scripts) {
    it(fence.name, () => {
      assert.equal(difference(fence, makeStack, makeNative), undefined);
    });
  }
});

describe("a difference", () => {
  it("of one flag of one call is noticed", () => {
    const makeOther = () => {
      const stack = makeNative();
      const tcpPush: StackExports["tcpPush"] = (index, flags, now) =>
        stack.calls.tcpPush(index, flags | 1, now);
      return { ...stack, calls: { ...stack.calls, tcpPush } };
    };
    const writes = scripts.filter(({ text }) => text.includes("write(4, ..., 1500) = 1500"));
    assert.notEqual(writes.length, 0);
    for (const fence of writes) {
      assert.notEqual(difference(fence, makeStack, makeOther), undefined);
    }
  });
});
