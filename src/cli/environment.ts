// Arguments and environment as the bytes they are. Node offers them as text: bytes that are not
// UTF-8 are lost on the way. Here every byte is one character ("latin1").

import { readFileSync } from "node:fs";
import type { Environment } from "./settings.ts";

/** A file of NUL-terminated byte strings. */
function readStrings(path: string): string[] {
  const strings = readFileSync(path, "latin1").split("\0");
  strings.pop();
  return strings;
}

/** The environment this process was started with. As in libc the first of two values counts. */
export function readEnvironment(): Environment {
  const environment: Environment = new Map();
  for (const entry of readStrings("/proc/self/environ")) {
    const at = entry.indexOf("=");
    if (at <= 0) continue;
    const name = entry.slice(0, at);
    if (!environment.has(name)) environment.set(name, entry.slice(at + 1));
  }
  return environment;
}

/** The last `count` arguments of this process. */
export function readLastArguments(count: number): string[] {
  const strings = readStrings("/proc/self/cmdline");
  return strings.slice(strings.length - count);
}

/** The form execve takes. */
export function environmentStrings(environment: Environment): string[] {
  return Array.from(environment, ([name, value]) => `${name}=${value}`);
}

/** Text out of bytes, for messages. */
export function shown(bytes: string): string {
  return Buffer.from(bytes, "latin1").toString();
}
