// Walks over the tokens of a script and complains where something else was expected.

import { ScriptError } from "./events.ts";
import type { Token, TokenKind } from "./lexer.ts";

export type Cursor = ReturnType<typeof createCursor>;

export function createCursor(tokens: readonly Token[]) {
  let at = 0;
  const last = tokens.at(-1) as Token;

  const peek = (ahead = 0): Token => tokens[at + ahead] ?? last;
  const isNext = (text: string, ahead = 0): boolean => {
    const token = peek(ahead);
    return token.text === text && (token.kind === "mark" || token.kind === "word");
  };

  function fail(wanted: string): never {
    throw new ScriptError(peek().line, `expected ${wanted}, found "${peek().text}"`);
  }

  function next(): Token {
    const token = peek();
    if (at < tokens.length - 1) at += 1;
    return token;
  }

  /** Takes the token if it is this one. */
  function accept(text: string): boolean {
    if (!isNext(text)) return false;
    next();
    return true;
  }

  function expect(text: string): void {
    if (!accept(text)) fail(`"${text}"`);
  }

  function take(kind: TokenKind, wanted: string): Token {
    if (peek().kind !== kind) fail(wanted);
    return next();
  }

  /** A whole number, with a sign if it has one. */
  function integer(wanted: string): number {
    const sign = accept("-") ? -1 : 1;
    const value = Number(take("number", wanted).text);
    if (!Number.isInteger(value)) fail(wanted);
    return sign * value;
  }

  return { peek, isNext, fail, next, accept, expect, take, integer };
}
