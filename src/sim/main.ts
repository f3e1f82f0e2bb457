// `npm run sim`: runs seeds, and says what was found. See docs/simulation.md.

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { type Outcome, runScenario } from "./run.ts";
import { SCENARIOS, scenarioNamed, scenarioOf } from "./scenarios/all.ts";
import { throughputTable } from "./throughput.ts";
import { loadModule } from "./world.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const WASM = join(ROOT, "build/stack.wasm");
const PROBED = join(ROOT, "build/stack-probed.wasm");
const CAPTURES = join(ROOT, "build/sim");
const SNAPSHOT = join(ROOT, "test/sim/snapshots/throughput.txt");
const FAILURES_SHOWN = 20;

const USAGE = `npm run sim -- [OPTION…]
  --seeds N          run seeds 1 to N (default 100)
  --first N          start with this seed instead of 1
  --seed N           run just this seed
  --scenario NAME    with every seed, instead of the one that belongs to it
  --stores           who is killed (deaths, life) is killed at any store to memory
  --check-every N    check everything at every n-th event of a host (default 16)
  --verbose          a line per seed
  --throughput       measure the table in test/sim/snapshots instead; with --update, write it
scenarios: ${SCENARIOS.map((one) => one.name).join(" ")}`;

const OPTIONS = {
  seeds: { type: "string", default: "100" },
  first: { type: "string", default: "1" },
  seed: { type: "string" },
  scenario: { type: "string" },
  "check-every": { type: "string", default: "16" },
  stores: { type: "boolean", default: false },
  throughput: { type: "boolean", default: false },
  update: { type: "boolean", default: false },
  verbose: { type: "boolean", default: false },
  help: { type: "boolean", default: false },
} as const;

interface Choice {
  /** The scenario was asked for by name. */
  isChosen: boolean;
  stores: boolean;
}

/** The line that repeats a run. */
function replayOf({ seed, scenario }: Outcome, { isChosen, stores }: Choice): string {
  const options = [isChosen ? ` --scenario ${scenario}` : "", stores ? " --stores" : ""];
  return `npm run sim -- --seed ${seed}${options.join("")}`;
}

function report(outcome: Outcome, choice: Choice): void {
  const { seed, scenario, failure } = outcome;
  if (!failure) return;
  mkdirSync(CAPTURES, { recursive: true });
  const file = join(CAPTURES, `${scenario}-${seed}.pcapng`);
  writeFileSync(file, outcome.capture());
  const isPlain = failure.name === "SimFailure";
  console.log(`SEED=${seed} ${scenario}: ${isPlain ? failure.message : failure.stack}`);
  console.log(`  replay:  ${replayOf(outcome, choice)}`);
  console.log(`  capture: ${file}`);
}

function lineOf(outcome: Outcome): string {
  const { seed, scenario, virtualSeconds, events, packets } = outcome;
  return `${seed} ${scenario}: ${virtualSeconds.toFixed(1)} s, ${events} events, ${packets} packets`;
}

/** Prints the table of throughput.ts, or puts it in place of the known one. */
function tabulate(module: WebAssembly.Module, isUpdate: boolean): number {
  const table = throughputTable(module);
  if (isUpdate) writeFileSync(SNAPSHOT, table);
  console.log(table.trimEnd());
  return 0;
}

function main(): number {
  const { values } = parseArgs({ options: OPTIONS });
  const { scenario: wanted, seed: only } = values;
  const chosen = wanted === undefined ? undefined : scenarioNamed(wanted);
  if (values.help || (wanted !== undefined && !chosen)) {
    console.log(USAGE);
    return values.help ? 0 : 2;
  }
  const module = loadModule(values.stores ? PROBED : WASM);
  if (values.throughput) return tabulate(module, values.update);
  const first = Number(only ?? values.first);
  const last = only === undefined ? first + Number(values.seeds) - 1 : first;
  const checkEvery = Number(values["check-every"]);
  const started = performance.now();
  const sum = { runs: 0, failures: 0, seconds: 0, events: 0, packets: 0 };
  for (let seed = first; seed <= last && sum.failures < FAILURES_SHOWN; seed++) {
    const outcome = runScenario({ module, seed, scenario: chosen ?? scenarioOf(seed), checkEvery });
    report(outcome, { isChosen: chosen !== undefined, stores: values.stores });
    if (values.verbose) console.log(lineOf(outcome));
    sum.runs += 1;
    sum.failures += outcome.failure ? 1 : 0;
    sum.seconds += outcome.virtualSeconds;
    sum.events += outcome.events;
    sum.packets += outcome.packets;
  }
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  const work = `${sum.packets} packets, ${sum.events} events, ${Math.round(sum.seconds)} virtual s`;
  console.log(`${sum.runs} runs, ${sum.failures} failures (${work}, ${seconds} s)`);
  return sum.failures > 0 ? 1 : 0;
}

process.exitCode = main();
