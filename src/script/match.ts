// Compares a segment that a script expects with one that the stack sent.

import type { Segment, TcpOption } from "./events.ts";
import type { Flow } from "./flow.ts";

/** The stack's timestamps count milliseconds. */
const TIMESTAMP_NANOS = 1_000_000;

export interface MatchOptions {
  /** PSH counts, too. */
  exact: boolean;
  toleranceNanos: number;
}

/**
 * Makes timestamps of an actual segment those of the script. The first one that is seen decides
 * what the script's numbers mean: it is `expected`'s, or 0 if any option will do.
 */
export function withScriptTimestamps(
  flow: Flow,
  actual: Segment,
  expected: Segment | undefined,
): Segment {
  const sent = timestamps(actual);
  if (sent === undefined) return actual;
  flow.timestampBase ??= sent.value - (timestamps(expected)?.value ?? 0);
  const value = (sent.value - flow.timestampBase) | 0;
  const options = actual.options?.map((one) => (one.kind === "TS" ? { ...one, value } : one));
  return { ...actual, options };
}

function timestamps(segment: Segment | undefined) {
  return segment?.options?.find((one) => one.kind === "TS");
}

/** What of the segment is not as expected, by name; empty when it matches. */
export function differences(expected: Segment, actual: Segment, options: MatchOptions): string[] {
  const found: string[] = [];
  const check = (name: string, holds: boolean) => {
    if (!holds) found.push(name);
  };
  const flags = (text: string) => (options.exact ? text : text.replace("P", ""));
  check("flags", flags(expected.flags) === flags(actual.flags));
  check("seq", expected.seq === actual.seq);
  check("length", expected.lengthBytes === actual.lengthBytes);
  check("ack", expected.ack === actual.ack);
  check("win", expected.win === undefined || expected.win === actual.win);
  check("urg", expected.urg === undefined || expected.urg === actual.urg);
  check("ecn", expected.ecn === undefined || expected.ecn === actual.ecn);
  check("options", optionsMatch(expected.options, actual.options ?? [], options.toleranceNanos));
  return found;
}

function optionsMatch(
  expected: TcpOption[] | undefined,
  actual: TcpOption[],
  toleranceNanos: number,
): boolean {
  if (expected === undefined) return true;
  if (expected.length !== actual.length) return false;
  const ticks = Math.ceil(toleranceNanos / TIMESTAMP_NANOS);
  return expected.every((one, index) => {
    const other = actual[index];
    if (one.kind !== "TS" || other?.kind !== "TS") return sameOption(one, other);
    return one.echo === other.echo && Math.abs(one.value - other.value) <= ticks;
  });
}

function sameOption(one: TcpOption, other: TcpOption | undefined): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}
