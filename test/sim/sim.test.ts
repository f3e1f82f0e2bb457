import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { fromRoot } from "../../src/build/paths.ts";
import { type Outcome, runScenario } from "../../src/sim/run.ts";
import { SCENARIOS, scenarioNamed } from "../../src/sim/scenarios/all.ts";
import type { Scenario } from "../../src/sim/scenarios/scenario.ts";
import { loadModule } from "../../src/sim/world.ts";

const MODULE = loadModule(fromRoot("build/stack.wasm"));
const SEEDS_PER_SCENARIO = 5;

function passes(scenario: Scenario, seed: number): Outcome {
  const outcome = runScenario({ module: MODULE, seed, scenario });
  const replay = `SEED=${seed}: npm run sim -- --seed ${seed} --scenario ${scenario.name}`;
  assert.equal(outcome.failure, undefined, `${outcome.failure?.stack}\n${replay}`);
  return outcome;
}

describe("the simulator finds nothing wrong", () => {
  for (const scenario of SCENARIOS) {
    it(`with ${scenario.name}`, () => {
      for (let seed = 1; seed <= SEEDS_PER_SCENARIO; seed++) passes(scenario, seed);
    });
  }

  it("with the seeds that once failed", () => {
    const lines = readFileSync(fromRoot("test/sim/seeds.txt"), "utf8").split("\n");
    const runs = lines.filter((line) => line !== "" && !line.startsWith("#"));
    assert.ok(runs.length > 0);
    for (const line of runs) {
      const [name = "", seed = ""] = line.split(" ");
      const scenario = scenarioNamed(name);
      assert.ok(scenario, `no scenario ${name}`);
      passes(scenario, Number(seed));
    }
  });
});

describe("a seed", () => {
  it("decides everything: a second run is the same, packet by packet", () => {
    const scenario = scenarioNamed("any-calls");
    assert.ok(scenario);
    const captures = [1, 2].map(() => passes(scenario, 11).capture());
    assert.ok(Buffer.compare(captures[0] ?? Buffer.of(), captures[1] ?? Buffer.of()) === 0);
    assert.notDeepEqual(passes(scenario, 12).events, passes(scenario, 11).events);
  });
});
