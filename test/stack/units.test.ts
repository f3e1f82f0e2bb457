// Every exported test_* function of stack/test/ as a test of its own: it traps when something is
// wrong, and the trap's stack names the function.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { loadUnits } from "./unit-module.ts";

const { calls } = await loadUnits();
const names = Object.keys(calls).filter((name) => name.startsWith("test_"));

describe("units of the stack", () => {
  it("are found", () => assert.ok(names.length > 0));

  for (const name of names) {
    it(name.slice("test_".length).replaceAll("_", " "), () => void calls[name]?.());
  }
});
