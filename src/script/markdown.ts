// Finds the packet scripts in a Markdown file.

import type { Script } from "./events.ts";
import { parseScript } from "./parser.ts";

/** A fence of a Markdown file. */
export interface Fence {
  /** `file.md:line`; the line is the script's first. */
  name: string;
  line: number;
  text: string;
  /** PSH counts, too: said in the info string. */
  exact: boolean;
  script: Script;
}

/** Beginnings that other scripts go on from, by name. */
export type Beginnings = ReadonlyMap<string, Script>;

const OPENING = /^```packetdrill(?:\s+(.*))?$/;

/** What stands behind the language in a fence's first line. */
interface Words {
  exact: boolean;
  /** The script goes on from this beginning. */
  after: string | undefined;
  /** The script is a beginning. */
  name: string | undefined;
}

function readWords(info: string, place: string): Words {
  const words: Words = { exact: false, after: undefined, name: undefined };
  for (const word of info.split(/\s+/).filter((one) => one !== "")) {
    const [key, value] = word.split("=");
    if (word === "exact") words.exact = true;
    else if (key === "after" && value) words.after = value;
    else if (key === "name" && value) words.name = value;
    else throw new Error(`${place}: unknown word ${word}`);
  }
  return words;
}

/** The scripts of a file's text. Beginnings found on the way are added to `beginnings`. */
export function findScripts(
  file: string,
  markdown: string,
  beginnings: Map<string, Script>,
): Fence[] {
  const lines = markdown.split("\n");
  const fences: Fence[] = [];
  for (let at = 0; at < lines.length; at++) {
    const opening = OPENING.exec(lines[at] ?? "");
    if (!opening) continue;
    const line = at + 2;
    const name = `${file}:${line}`;
    const end = lines.indexOf("```", at + 1);
    if (end < 0) throw new Error(`${name}: a fence without end`);
    const words = readWords(opening[1] ?? "", name);
    const text = lines.slice(at + 1, end).join("\n");
    const script = goOn(words.after, parseScript(text, line), beginnings, name);
    if (words.name) beginnings.set(words.name, script);
    fences.push({ name, line, text, exact: words.exact, script });
    at = end;
  }
  return fences;
}

/** The beginning's events, then the script's own. */
function goOn(
  after: string | undefined,
  script: Script,
  beginnings: Beginnings,
  name: string,
): Script {
  if (after === undefined) return script;
  const start = beginnings.get(after);
  if (!start) throw new Error(`${name}: there is no beginning ${after}`);
  const events = [...start.events.map((event) => ({ ...event, isBefore: true })), ...script.events];
  return { ...script, events };
}
