// `npm test [-- FILTER…]`: formatting, lint, types, then the tests. With filters only those test
// files run whose path contains one of them, without the checks before.

import { spawnSync } from "node:child_process";
import { fromRoot, ROOT, shown } from "./paths.ts";
import { listFiles } from "./steps.ts";

/** A test file that hangs is ended after this long, so that the closing lines still come. */
const FILE_LIMIT_MILLIS = 600_000;

const BIOME = "node_modules/@biomejs/biome/bin/biome";
const TSC = "node_modules/typescript/bin/tsc";

interface Check {
  name: string;
  args: string[];
}

const CHECKS: Check[] = [
  { name: "format", args: [BIOME, "format"] },
  { name: "lint", args: [BIOME, "lint", "--error-on-warnings"] },
  { name: "types", args: [TSC, "--noEmit"] },
];

function run(args: string[]): boolean {
  return spawnSync(process.execPath, args, { cwd: ROOT, stdio: "inherit" }).status === 0;
}

function main(filters: string[]): number {
  if (filters.length === 0) {
    for (const check of CHECKS) {
      console.log(`test: ${check.name}`);
      if (!run(check.args)) {
        console.error(`test: ${check.name} failed`);
        return 1;
      }
    }
  }
  const all = listFiles("test", /\.test\.ts$/).map(shown);
  const chosen = all.filter((path) => {
    return filters.length === 0 || filters.some((filter) => path.includes(filter));
  });
  if (chosen.length === 0) {
    console.error(`test: no test file's path contains ${filters.join(" or ")}`);
    return 1;
  }
  // One file at a time: many set up network namespaces and measure what happens in them.
  const options = ["--test-concurrency=1", `--test-timeout=${FILE_LIMIT_MILLIS}`];
  return run(["--import", "tsx", "--test", ...options, ...chosen]) ? 0 : 1;
}

process.chdir(fromRoot());
process.exitCode = main(process.argv.slice(2));
