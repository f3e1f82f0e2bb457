// `npm run build [STEP…]`: brings everything in build/ up to date, or the named steps with all that
// they need. Exits with 1 when a step failed; the others are built all the same.

import { allSteps, selectSteps } from "./all-steps.ts";
import { BuildError } from "./errors.ts";
import { withLock } from "./lock.ts";
import { fromRoot } from "./paths.ts";
import { runSteps } from "./steps.ts";

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
