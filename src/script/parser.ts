// Reads a packet script. The grammar is packetdrill's; docs/packet-scripts.md has what is added.

import { parseCall } from "./call-parser.ts";
import { createCursor, type Cursor } from "./cursor.ts";
import {
  type Action,
  type EventTime,
  type Script,
  ScriptError,
  type ScriptEvent,
} from "./events.ts";
import { tokenize } from "./lexer.ts";
import { parsePacket } from "./packet-parser.ts";

const NANOS_PER_SECOND = 1e9;
const NANOS_PER_MICRO = 1000;
/** Virtual time is exact; what rounds are the stack's timers, each a little, and they add up. */
const TOLERANCE_NANOS = 5_000_000;

/** Reads a script whose first line has the number `firstLine` in its file. */
export function parseScript(text: string, firstLine = 1): Script {
  const cursor = createCursor(tokenize(text, firstLine));
  const settings = new Map<string, number>();
  while (cursor.isNext("-") && cursor.isNext("-", 1)) parseSetting(cursor, settings);
  const tolerance = settings.get("tolerance_usecs");
  settings.delete("tolerance_usecs");
  const events: ScriptEvent[] = [];
  while (cursor.peek().kind !== "end") {
    const { line, start } = cursor.peek();
    const time = parseTime(cursor);
    const action = parseAction(cursor);
    const end = cursor.peek(-1).end;
    events.push({ time, action, line, text: text.slice(start, end).replace(/\s+/g, " ") });
  }
  if (events.length === 0) throw new ScriptError(firstLine, "the script is empty");
  return {
    events,
    toleranceNanos: tolerance === undefined ? TOLERANCE_NANOS : tolerance * NANOS_PER_MICRO,
    settings,
  };
}

function parseSetting(cursor: Cursor, settings: Map<string, number>): void {
  cursor.expect("-");
  cursor.expect("-");
  const name = cursor.take("word", "a setting's name").text;
  cursor.expect("=");
  settings.set(name, cursor.integer("a setting's value"));
}

function seconds(cursor: Cursor): number {
  return Math.round(Number(cursor.take("number", "a time in seconds").text) * NANOS_PER_SECOND);
}

/** `0.5`, `+.1`, `+0...0.2`, `+.1~+.2`, `*`. Both ends count from the same event. */
function parseTime(cursor: Cursor): EventTime {
  if (cursor.accept("*")) return { kind: "any" };
  if (cursor.peek().kind === "code") return { kind: "relative", at: 0 };
  const kind = cursor.accept("+") ? "relative" : "absolute";
  const at = seconds(cursor);
  if (cursor.accept("~")) {
    cursor.accept("+");
    return { kind, at, latest: seconds(cursor) };
  }
  return cursor.accept("...") ? { kind, at, until: seconds(cursor) } : { kind, at };
}

function parseAction(cursor: Cursor): Action {
  if (cursor.accept("<")) return parsePacket(cursor, "inbound");
  if (cursor.accept(">")) return parsePacket(cursor, "outbound");
  if (cursor.peek().kind === "code") return { kind: "assert", text: cursor.next().text.trim() };
  return { kind: "call", call: parseCall(cursor) };
}
