// Evaluates `assert tcpi_snd_cwnd == 10 and tcpi_unacked < 4, "note"`: whole numbers, names,
// comparisons that may be chained, and, or, not, + - * / % & | << >> and parentheses.

import { createCursor, type Cursor } from "./cursor.ts";
import { ScriptError } from "./events.ts";
import { tokenize } from "./lexer.ts";

/** Value of a name; undefined if there is none of that name. */
export type Lookup = (name: string) => number | undefined;

interface Scope {
  cursor: Cursor;
  lookup: Lookup;
}

/** Operators of two values, those that bind weakest first. */
const LEVELS: readonly Record<string, (a: number, b: number) => number>[] = [
  { "|": (a, b) => a | b },
  { "&": (a, b) => a & b },
  { "<<": (a, b) => a << b, ">>": (a, b) => a >>> b },
  { "+": (a, b) => a + b, "-": (a, b) => a - b },
  { "*": (a, b) => a * b, "/": (a, b) => Math.trunc(a / b), "%": (a, b) => a % b },
];

const COMPARISONS: Readonly<Record<string, (a: number, b: number) => boolean>> = {
  "==": (a, b) => a === b,
  "!=": (a, b) => a !== b,
  "<=": (a, b) => a <= b,
  ">=": (a, b) => a >= b,
  "<": (a, b) => a < b,
  ">": (a, b) => a > b,
};

/** Assertions of a block, one after the other; the text of the first that fails, if one does. */
export function failedAssertion(text: string, line: number, lookup: Lookup): string | undefined {
  const cursor = createCursor(tokenize(text, line));
  const scope = { cursor, lookup };
  while (cursor.peek().kind !== "end") {
    cursor.expect("assert");
    const { start } = cursor.peek();
    const holds = either(scope);
    const { end } = cursor.peek(-1);
    if (cursor.accept(",")) either(scope);
    cursor.accept(";");
    if (!holds) return `${text.slice(start, end)} (${valuesIn(text.slice(start, end), lookup)})`;
  }
  return undefined;
}

/** The names of an expression with their values, for the report. */
function valuesIn(text: string, lookup: Lookup): string {
  const names = new Set(text.match(/[A-Za-z_]\w*/g) ?? []);
  const known = [...names].flatMap((name) => {
    const value = lookup(name);
    return value === undefined ? [] : [`${name} is ${value}`];
  });
  return known.join(", ");
}

function either(scope: Scope): number {
  let value = both(scope);
  while (scope.cursor.accept("or")) value = both(scope) || value;
  return value;
}

function both(scope: Scope): number {
  let value = negation(scope);
  while (scope.cursor.accept("and")) {
    const right = negation(scope);
    value = value && right;
  }
  return value;
}

function negation(scope: Scope): number {
  if (scope.cursor.accept("not")) return negation(scope) ? 0 : 1;
  return comparison(scope);
}

/** `0 < a <= b` holds when each part does, as in Python. */
function comparison(scope: Scope): number {
  let left = binary(scope, 0);
  let operator = takeOperator(scope.cursor, COMPARISONS);
  if (operator === undefined) return left;
  let holds = true;
  while (operator !== undefined) {
    const right = binary(scope, 0);
    holds = holds && (COMPARISONS[operator]?.(left, right) ?? false);
    left = right;
    operator = takeOperator(scope.cursor, COMPARISONS);
  }
  return holds ? 1 : 0;
}

/** Takes the longest operator of the table that comes next; the lexer has single characters. */
function takeOperator(cursor: Cursor, table: Readonly<Record<string, unknown>>) {
  const first = cursor.peek();
  const second = cursor.peek(1);
  if (first.kind !== "mark") return undefined;
  const isPair = second.kind === "mark" && second.start === first.end;
  const pair = isPair ? first.text + second.text : "";
  if (pair in table) {
    cursor.next();
    cursor.next();
    return pair;
  }
  const isShift = pair === "<<" || pair === ">>";
  if (isShift || !(first.text in table)) return undefined;
  return cursor.next().text;
}

function binary(scope: Scope, level: number): number {
  const table = LEVELS[level];
  if (table === undefined) return unary(scope);
  let value = binary(scope, level + 1);
  for (;;) {
    const operator = takeOperator(scope.cursor, table);
    if (operator === undefined) return value;
    value = table[operator]?.(value, binary(scope, level + 1)) ?? 0;
  }
}

function unary(scope: Scope): number {
  const { cursor, lookup } = scope;
  if (cursor.accept("-")) return -unary(scope);
  if (cursor.accept("(")) {
    const value = either(scope);
    cursor.expect(")");
    return value;
  }
  const token = cursor.next();
  // A note behind a comma may be a string; it is for people.
  if (token.kind === "string") return 0;
  if (token.kind === "number") return Number(token.text);
  const value = token.kind === "word" ? lookup(token.text) : undefined;
  if (value === undefined) throw new ScriptError(token.line, `unknown name ${token.text}`);
  return value;
}
