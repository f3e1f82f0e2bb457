// Splits the text of a packet script into tokens.

import { ScriptError } from "./events.ts";

export type TokenKind = "number" | "word" | "string" | "code" | "mark" | "end";

export interface Token {
  kind: TokenKind;
  /** For a string what is between the quotes, for code what is between the braces. */
  text: string;
  line: number;
  /** Where it lies in the text. */
  start: number;
  end: number;
}

/** Tried in this order at each place. Comments and blanks have no kind. */
const RULES: [TokenKind | undefined, RegExp][] = [
  [undefined, /\s+|\/\/[^\n]*|#[^\n]*|\/\*[\s\S]*?\*\//y],
  ["code", /%\{([\s\S]*?)\}%/y],
  ["string", /"((?:[^"\\]|\\.)*)"/y],
  ["number", /0x[0-9a-fA-F]+|\d+(?:\.\d+)?|\.\d+/y],
  ["word", /[A-Za-z_][A-Za-z0-9_]*/y],
  ["mark", /\.\.\.|\.\.|[^\s]/y],
];

/** Tokens of a script whose first line has the number `firstLine`; the last one is "end". */
export function tokenize(text: string, firstLine: number): Token[] {
  const tokens: Token[] = [];
  let at = 0;
  let line = firstLine;
  while (at < text.length) {
    const found = match(text, at);
    if (found === undefined) throw new ScriptError(line, `unreadable: ${text.slice(at, at + 20)}`);
    const { kind, whole, inner } = found;
    if (kind) tokens.push({ kind, text: inner, line, start: at, end: at + whole.length });
    line += whole.split("\n").length - 1;
    at += whole.length;
  }
  tokens.push({ kind: "end", text: "the end of the script", line, start: at, end: at });
  return tokens;
}

function match(text: string, at: number) {
  for (const [kind, rule] of RULES) {
    rule.lastIndex = at;
    const found = rule.exec(text);
    if (found) return { kind, whole: found[0], inner: found[1] ?? found[0] };
  }
  return undefined;
}
