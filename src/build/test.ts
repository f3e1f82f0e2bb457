// `npm test [-- FILTER…]`: all tests, or those files whose path contains one of the filters.

import { spawnSync } from "node:child_process";
import { ROOT, shown } from "./paths.ts";
import { listFiles } from "./steps.ts";

/** A test file that hangs is ended after this long, so that the closing lines still come. */
const FILE_LIMIT_MILLIS = 600_000;

function main(filters: string[]): number {
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
  const args = ["--import", "tsx", "--test", ...options, ...chosen];
  return spawnSync(process.execPath, args, { cwd: ROOT, stdio: "inherit" }).status ?? 1;
}

process.exitCode = main(process.argv.slice(2));
