// Reads native/shim/calls.def, the table of the libc functions that the preload library answers.

import { BuildError } from "./errors.ts";

/** One `CALL(type, name, (prototype), (arguments), KIND, handler, number)`. */
export interface Call {
  name: string;
  /** Parameters as C declares them, on one line. */
  prototype: string;
  kind: string;
  handler: string;
  /** The system call that syscall(2) may use in its place, or undefined. */
  systemCall: string | undefined;
}

/** The table's entries in their order. */
export function readCalls(table: string): Call[] {
  const text = table.replace(/\/\*[\s\S]*?\*\//g, "").replace(/\s+/g, " ");
  const starts = [...text.matchAll(/\bCALL\(/g)];
  return starts.map((match) => {
    const parts = splitArguments(text, match.index + match[0].length);
    const [, name, prototype, , kind, handler, number] = parts;
    if (parts.length !== 7 || !name || !prototype || !kind || !handler) {
      throw new BuildError(`calls.def: CALL of ${name ?? "?"} has ${parts.length} parts, not 7`);
    }
    const systemCall = number === "NONE" ? undefined : number;
    return { name, prototype: prototype.slice(1, -1), kind, handler, systemCall };
  });
}

/** What each KIND means, from the table's opening comment. */
export function readKinds(table: string): Map<string, string> {
  const comment = /^\/\*[\s\S]*?\*\//.exec(table)?.[0] ?? "";
  const lines = comment.matchAll(/^ \* {3}([A-Z]+) {2,}(.+)$/gm);
  return new Map([...lines].map(([, kind = "", meaning = ""]) => [kind, meaning]));
}

/** The arguments from `at` to the closing parenthesis, split at the commas between them. */
function splitArguments(text: string, at: number): string[] {
  const parts = [""];
  let depth = 0;
  for (const letter of text.slice(at)) {
    if (letter === ")" && depth === 0) break;
    if (letter === "(") depth += 1;
    if (letter === ")") depth -= 1;
    if (letter === "," && depth === 0) parts.push("");
    else parts.push(`${parts.pop()}${letter}`);
  }
  return parts.map((part) => part.trim());
}
