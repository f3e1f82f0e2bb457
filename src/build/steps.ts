// Incremental steps. A step runs again when the content of anything it read last time, its
// settings, or the build chain itself has changed, or when an output is missing.

import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { BuildError } from "./errors.ts";
import { fromRoot, shown } from "./paths.ts";

/** One piece of work with files as its inputs and outputs. */
export interface Step {
  name: string;
  /** Names of steps that must have succeeded before. */
  after: string[];
  /** Files that are always inputs; `run` may report more that it read. */
  inputs: string[];
  outputs: string[];
  /** Everything else that decides the result: flags, tool versions. */
  settings: string;
  /** Does the work; resolves to further files that were read. */
  run(): Promise<string[]>;
}

interface Stamp {
  key: string;
  inputs: string[];
}

/** Whether a step had to run. */
export type Outcome = "ran" | "fresh" | "failed" | "blocked";

const STAMPS = fromRoot("build/stamps");
const PARALLEL_STEPS = 2;
/** File times come from a clock that ticks with the scheduler: up to 10 ms behind Date.now(). */
const CLOCK_SLACK_MILLIS = 20;

/** Runs the steps, two at a time, each after those that it names; reports every failure. */
export async function runSteps(
  steps: Step[],
  log: (line: string) => void,
  stamps = STAMPS,
): Promise<Map<string, Outcome>> {
  const chain = hashFiles(chainFiles());
  const outcomes = new Map<string, Outcome>();
  const pending = new Set(steps);
  const running = new Set<Promise<void>>();
  const names = new Set(steps.map((step) => step.name));
  const start = (step: Step) => {
    pending.delete(step);
    const stamp = join(stamps, `${step.name.replaceAll("/", "-")}.json`);
    const work = runStep(step, stamp, chain, outcomes, log).finally(() => running.delete(work));
    running.add(work);
  };
  while (pending.size > 0 || running.size > 0) {
    const before = pending.size;
    for (const step of pending) {
      const needed = step.after.filter((name) => names.has(name));
      if (!needed.every((name) => outcomes.has(name))) continue;
      if (needed.some((name) => isFailure(outcomes.get(name)))) {
        outcomes.set(step.name, "blocked");
        pending.delete(step);
      } else if (running.size < PARALLEL_STEPS) start(step);
    }
    if (running.size > 0) await Promise.race(running);
    else if (pending.size === before) throw new BuildError("build steps wait for one another");
  }
  return outcomes;
}

function isFailure(outcome: Outcome | undefined): boolean {
  return outcome === "failed" || outcome === "blocked";
}

async function runStep(
  step: Step,
  stampPath: string,
  chain: string,
  outcomes: Map<string, Outcome>,
  log: (line: string) => void,
): Promise<void> {
  const settings = `${chain} ${step.settings}`;
  if (isFresh(step, stampPath, settings)) {
    outcomes.set(step.name, "fresh");
    return;
  }
  const started = performance.now();
  const safeMillis = Date.now() - CLOCK_SLACK_MILLIS;
  try {
    for (const output of step.outputs) mkdirSync(dirname(output), { recursive: true });
    const more = await step.run();
    const inputs = [...new Set([...step.inputs, ...more])].sort();
    const stamp: Stamp = { key: hashFiles(inputs, settings), inputs };
    // Without a stamp the step runs again: an input was edited while it was being read.
    if (inputs.every((input) => statSync(input).mtimeMs < safeMillis || isBuilt(input))) {
      writeAtomically(stampPath, JSON.stringify(stamp));
    } else rmSync(stampPath, { force: true });
    outcomes.set(step.name, "ran");
    log(`${step.name} (${((performance.now() - started) / 1000).toFixed(1)} s)`);
  } catch (error) {
    outcomes.set(step.name, "failed");
    const expected = error instanceof BuildError;
    log(`${step.name} FAILED\n${expected ? error.message : ((error as Error).stack ?? error)}`);
  }
}

/** Steps wait for what other steps make, so such a file does not change under them. */
function isBuilt(path: string): boolean {
  return path.startsWith(fromRoot("build/"));
}

function isFresh(step: Step, stampPath: string, settings: string): boolean {
  if (!existsSync(stampPath) || !step.outputs.every((output) => existsSync(output))) return false;
  const stamp = JSON.parse(readFileSync(stampPath, "utf8")) as Stamp;
  if (!step.inputs.every((input) => stamp.inputs.includes(input))) return false;
  return stamp.key === hashFiles(stamp.inputs, settings);
}

/** Hash of the files' names and contents; a missing file counts as such. */
export function hashFiles(paths: string[], settings = ""): string {
  const hash = createHash("sha256").update(settings);
  for (const path of paths) {
    hash.update(`\0${shown(path)}\0`);
    hash.update(existsSync(path) ? readFileSync(path) : "missing");
  }
  return hash.digest("hex");
}

/** The build chain's own sources and the versions of its packages. */
function chainFiles(): string[] {
  return [...listFiles("src/build", /\.ts$/), fromRoot("package-lock.json")];
}

/** Files below a folder whose path matches, absolute and sorted; none when it does not exist. */
export function listFiles(folder: string, pattern: RegExp): string[] {
  const root = fromRoot(folder);
  if (!existsSync(root)) return [];
  return readdirSync(root, { recursive: true, encoding: "utf8" })
    .filter((name) => pattern.test(name))
    .map((name) => join(root, name))
    .sort();
}

/** Replaces a file in one go: whoever has the old one open or mapped keeps it. */
export function writeAtomically(path: string, contents: string | Uint8Array): void {
  mkdirSync(dirname(path), { recursive: true });
  const temporary = `${path}.new`;
  writeFileSync(temporary, contents);
  renameSync(temporary, path);
}
