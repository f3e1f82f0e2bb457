// Reads `name(argument, ...) = result ERRNO (note)`.

import type { Cursor } from "./cursor.ts";
import { type Argument, type Call, ScriptError } from "./events.ts";
import { ERRNO, SYMBOLS } from "./symbols.ts";

export function parseCall(cursor: Cursor): Call {
  const name = cursor.take("word", "a packet, a call or an assertion").text;
  cursor.expect("(");
  const list = parseItems(cursor, ")");
  cursor.expect("=");
  const result = cursor.accept("...") ? undefined : parseNumber(cursor).value;
  const errno = cursor.peek().kind === "word" ? parseErrno(cursor) : undefined;
  if ((errno !== undefined) !== (result === -1)) cursor.fail("an errno with a result of -1");
  return { name, arguments: list, result, errno };
}

/** `EPIPE (Broken pipe)`: the note is for people. */
function parseErrno(cursor: Cursor): string {
  const { text, line } = cursor.next();
  if (ERRNO[text] === undefined) throw new ScriptError(line, `unknown errno ${text}`);
  if (cursor.accept("(")) {
    while (!cursor.accept(")")) {
      if (cursor.next().kind === "end") throw new ScriptError(line, "a note without end");
    }
  }
  return text;
}

function parseItems(cursor: Cursor, close: string): Argument[] {
  const items: Argument[] = [];
  while (!cursor.accept(close)) {
    if (items.length > 0) cursor.expect(",");
    items.push(parseArgument(cursor));
  }
  return items;
}

function parseArgument(cursor: Cursor): Argument {
  if (cursor.accept("...")) return { kind: "any" };
  if (cursor.accept("[")) return { kind: "list", items: parseItems(cursor, "]") };
  if (cursor.accept("{")) return { kind: "struct", fields: parseFields(cursor) };
  const token = cursor.peek();
  if (token.kind === "string") return { kind: "string", value: cursor.next().text };
  return parseNumber(cursor);
}

/** `{fd=4, events=POLLIN}`; fields without a name are called by their position. */
function parseFields(cursor: Cursor): Map<string, Argument> {
  const fields = new Map<string, Argument>();
  while (!cursor.accept("}")) {
    if (fields.size > 0) cursor.expect(",");
    const isNamed = cursor.peek().kind === "word" && cursor.isNext("=", 1);
    const name = isNamed ? cursor.next().text : String(fields.size);
    if (isNamed) cursor.expect("=");
    fields.set(name, parseArgument(cursor));
  }
  return fields;
}

/** A number, or names and numbers joined by `|`. */
function parseNumber(cursor: Cursor): Argument & { kind: "number" } {
  let value = 0;
  const parts: string[] = [];
  do {
    const token = cursor.peek();
    const part = token.kind === "word" ? symbol(cursor) : cursor.integer("a number or a name");
    parts.push(token.kind === "word" ? token.text : String(part));
    value = parts.length === 1 ? part : value | part;
  } while (cursor.accept("|"));
  return { kind: "number", value, text: parts.join("|") };
}

function symbol(cursor: Cursor): number {
  const { text, line } = cursor.next();
  const value = SYMBOLS[text];
  if (value === undefined) throw new ScriptError(line, `unknown name ${text}`);
  return value;
}
