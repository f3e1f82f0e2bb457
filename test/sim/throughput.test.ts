import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { it } from "node:test";
import { fromRoot } from "../../src/build/paths.ts";
import { throughputTable } from "../../src/sim/throughput.ts";
import { loadModule } from "../../src/sim/world.ts";

it("goodput over lossy paths is what it was (npm run sim -- --throughput --update changes it)", () => {
  const table = throughputTable(loadModule(fromRoot("build/stack.wasm")));
  assert.equal(table, readFileSync(fromRoot("test/sim/snapshots/throughput.txt"), "utf8"));
});
