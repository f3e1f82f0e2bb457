// The simulator is tested by stacks that have a bug: it must find each of them.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { compileStack } from "../../src/build/asc.ts";
import { fromRoot } from "../../src/build/paths.ts";
import { runScenario } from "../../src/sim/run.ts";
import { scenarioNamed } from "../../src/sim/scenarios/all.ts";

interface Canary {
  what: string;
  /** File in stack/, and the text in it that occurs once. */
  file: string;
  right: string;
  wrong: string;
  /** Scenarios to look for it in. */
  scenarios: string[];
}

const SEEDS_MAX = 40;

const CANARIES: Canary[] = [
  {
    what: "a comparison of sequence numbers that is off by one",
    file: "base/seq.ts",
    right: "return <i32>(a - b) < 0;",
    wrong: "return <i32>(a - b) <= 0;",
    scenarios: ["bulk"],
  },
  {
    what: "sequence numbers compared as if they never wrapped",
    file: "base/seq.ts",
    right: "return <i32>(b - a) < 0;",
    wrong: "return a > b;",
    scenarios: ["wrap"],
  },
  {
    what: "a timer that is not set again after another has fired",
    file: "tcp/timeouts.ts",
    right: "if (next != NEVER) wheelCover(index, next);",
    wrong: "if (next != NEVER && tcb.packetsOut == 0) wheelCover(index, next);",
    scenarios: ["bulk", "outages"],
  },
  {
    what: "sent frames that do not go back to the pool",
    file: "tcp/frame.ts",
    right: "if (meta.state != <u8>FrameState.Transmit) giveFrame(link - 1);",
    wrong: "if (meta.state == <u8>FrameState.Queued) giveFrame(link - 1);",
    scenarios: ["short"],
  },
  {
    what: "a SACK block that covers what lies before it",
    file: "tcp/delivery.ts",
    right: "seqAfterEq(frame.seq, start) && seqBeforeEq(frame.endSeq, end)",
    wrong: "seqBeforeEq(frame.endSeq, end)",
    scenarios: ["bulk"],
  },
  {
    what: "data that overlaps with what is there and is not cut",
    file: "tcp/receive.ts",
    right: "const at = segment.payloadOffset + skip;",
    wrong: "const at = segment.payloadOffset;",
    scenarios: ["bulk"],
  },
  {
    what: "a window that is taken back",
    file: "tcp/window.ts",
    right: "if (wanted < current) return (current + unit) & ~unit;",
    wrong: "",
    scenarios: ["slow-reader", "bulk"],
  },
  {
    what: "a sender that nobody wakes when there is room again",
    file: "tcp/send-queue.ts",
    right: "notifySocket(index, EVENTS_OUT);",
    wrong: "return;",
    scenarios: ["bulk"],
  },
  {
    what: "sleepers of the dead that are not forgotten",
    file: "region/client.ts",
    right: "  removeClientWaiters(slot);\n",
    wrong: "",
    scenarios: ["life"],
  },
];

async function compileWith({ file, right, wrong }: Canary): Promise<WebAssembly.Module> {
  const text = readFileSync(fromRoot("stack", file), "utf8");
  assert.equal(text.split(right).length, 2, `${file} does not have once: ${right}`);
  const virtualFiles = { [file]: text.replace(right, wrong) };
  const { wasm } = await compileStack({ entry: "index.ts", target: "describe", virtualFiles });
  return new WebAssembly.Module(wasm);
}

/** The first failure within SEEDS_MAX seeds of the canary's scenarios. */
function firstFailure(module: WebAssembly.Module, names: string[]): Error | undefined {
  for (let seed = 1; seed <= SEEDS_MAX; seed++) {
    for (const name of names) {
      const scenario = scenarioNamed(name);
      assert.ok(scenario, `no scenario ${name}`);
      const { failure } = runScenario({ module, seed, scenario });
      if (failure) return failure;
    }
  }
  return undefined;
}

describe("the simulator finds a planted bug", () => {
  for (const canary of CANARIES) {
    it(canary.what, async () => {
      const failure = firstFailure(await compileWith(canary), canary.scenarios);
      assert.ok(failure, `${SEEDS_MAX} seeds did not find it`);
    });
  }
});
