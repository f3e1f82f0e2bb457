// `npm run build [STEP…]`: brings everything in build/ up to date, or the named steps with all that
// they need. Exits with 1 when a step failed; the others are built all the same.

import { BuildError } from "./errors.ts";
import { jsSteps } from "./js-steps.ts";
import { withLock } from "./lock.ts";
import { nativeSteps } from "./native-steps.ts";
import { fromRoot } from "./paths.ts";
import { stackSteps } from "./stack-steps.ts";
import { runSteps, type Step } from "./steps.ts";

/** Every step of the build, in an order in which they could run. */
export function allSteps(): Step[] {
  return [...stackSteps(), ...nativeSteps(), ...jsSteps()];
}

/** The named steps and everything that they wait for; all steps when none is named. */
export function selectSteps(steps: Step[], names: string[]): Step[] {
  if (names.length === 0) return steps;
  const wanted = new Set<string>();
  const add = (name: string) => {
    const step = steps.find((one) => one.name === name);
    if (!step || wanted.has(name)) return;
    wanted.add(name);
    step.after.forEach(add);
  };
  for (const name of names) {
    add(name);
    if (!wanted.has(name)) {
      const known = steps.map((step) => step.name).join(" ");
      throw new BuildError(`no build step ${name}; there are: ${known}`);
    }
  }
  return steps.filter((step) => wanted.has(step.name));
}

async function main(names: string[]): Promise<number> {
  const started = performance.now();
  const outcomes = await withLock(fromRoot("build/lock"), () =>
    runSteps(selectSteps(allSteps(), names), (line) => console.log(`build: ${line}`)),
  );
  const count = (kind: string) => [...outcomes.values()].filter((one) => one === kind).length;
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  const failures = count("failed") > 0 ? `, ${count("failed")} failed` : "";
  const blocked = count("blocked") > 0 ? `, ${count("blocked")} not tried` : "";
  const summary = `${count("ran")} steps ran, ${count("fresh")} were up to date`;
  console.log(`build: ${summary}${failures}${blocked} (${seconds} s)`);
  return failures || blocked ? 1 : 0;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof BuildError)) throw error;
  console.error(`build: ${error.message}`);
  process.exitCode = 1;
}
