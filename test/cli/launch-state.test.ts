import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { takeLaunchState } from "../../src/cli/launch-state.ts";

describe("the launch state", () => {
  it("is taken out of the environment", () => {
    const environment = new Map([
      [
        "EXASOCK_LAUNCH_STATE",
        "nofile=1024 ignored=0000000000001001 blocked=0000000000000002 descriptors=,0,2,10",
      ],
      ["EXASOCK_LAUNCH_NODE_OPTIONS", "--trace-gc"],
      ["HOME", "/"],
    ]);
    assert.deepEqual(takeLaunchState(environment), {
      fileLimit: 1024,
      ignored: 0x1001n,
      blocked: 2n,
      descriptors: [0, 2, 10],
    });
    assert.deepEqual(Object.fromEntries(environment), { HOME: "/", NODE_OPTIONS: "--trace-gc" });
  });

  it("leaves the limit and resets the signals where there is none, or nonsense", () => {
    const usual = { fileLimit: -1, ignored: 0n, blocked: 0n, descriptors: null };
    assert.deepEqual(takeLaunchState(new Map()), usual);
    const nonsense = "nofile=x ignored=zz blocked= ==";
    assert.deepEqual(takeLaunchState(new Map([["EXASOCK_LAUNCH_STATE", nonsense]])), usual);
  });

  it("leaves an unlimited number of files as it is", () => {
    const environment = new Map([["EXASOCK_LAUNCH_STATE", "nofile=unlimited"]]);
    assert.equal(takeLaunchState(environment).fileLimit, -1);
  });
});
