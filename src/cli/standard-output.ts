// Standard output of the commands themselves. The launcher must not load this on the way to a
// program: it makes Node take hold of the descriptor.

import { writeSync } from "node:fs";
import { basename } from "node:path";

let isWatched = false;

function giveUp(error: NodeJS.ErrnoException): never {
  // Who closed a pipe wants no more of it, and no complaint.
  if (error.code !== "EPIPE") {
    const name = basename(process.argv[1] ?? "", ".js").replace(/\.cjs$/, "");
    writeSync(2, `${name}: can't write the output (${error.code})\n`);
  }
  process.exit(1);
}

/** Writes to standard output; ends the process with status 1 when that is not possible. */
export function writeOutput(text: string): void {
  if (!isWatched) process.stdout.on("error", giveUp);
  isWatched = true;
  process.stdout.write(text);
}
