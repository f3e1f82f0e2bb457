import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

/** The repository's top folder; every other path of the build is named relative to it. */
export const ROOT = join(dirname(fileURLToPath(import.meta.url)), "../..");

/** Absolute path of a file named relative to the repository. */
export function fromRoot(...parts: string[]): string {
  return join(ROOT, ...parts);
}

/** How messages name a file: relative to the repository. */
export function shown(path: string): string {
  return relative(ROOT, path);
}
