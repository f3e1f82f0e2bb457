// Runs the scripts of files in all ways, and says what went wrong.

import type { Fence } from "./markdown.ts";
import { formatTime } from "./format.ts";
import type { StackFactory } from "./machine.ts";
import { withScriptTimestamps } from "./match.ts";
import { describeSent, type LogEntry, runScript, type RunResult } from "./runner.ts";
import type { Mode } from "./variants.ts";

const RERUNS: readonly Mode[] = ["split", "duplicate"];

const NAMES: Readonly<Record<Mode, string>> = {
  plain: "as it stands",
  split: "with the peer's data split at every byte",
  duplicate: "with the peer's data arriving twice",
  record: "recorded",
};

/** Runs a script as it stands and in the other ways; a report of the first failure, if any. */
export function checkScript(fence: Fence, makeStack: StackFactory): string | undefined {
  const { script, exact } = fence;
  const first = runScript(script, { mode: "plain", exact, makeStack });
  if (first.failure !== undefined) return report(fence, "plain", first);
  for (const mode of RERUNS) {
    const again = runScript(script, { mode, exact, makeStack, shared: first.shared });
    if (again.failure !== undefined) return report(fence, mode, again);
    if (again.summary.join("\n") === first.summary.join("\n")) continue;
    const [expected, actual] = [first.summary, again.summary];
    return `${fence.name}: sent otherwise ${NAMES[mode]}\n${columns(expected, actual).join("\n")}`;
  }
  return undefined;
}

function report(fence: Fence, mode: Mode, { failure, steps }: RunResult): string {
  const expected = ["expected", ...steps.map((step) => step.expected)];
  const actual = ["actual", ...steps.map((step) => step.actual)];
  const marks = ["  ", ...steps.map(({ isFailed }) => (isFailed ? "! " : "  "))];
  const lines = columns(expected, actual).map((line, at) => `${marks[at]}${line}`);
  return [`${fence.name}, ${NAMES[mode]}: ${failure}`, ...lines].join("\n");
}

/** Two texts side by side. */
function columns(left: string[], right: string[]): string[] {
  const width = Math.max(...left.map((line) => line.length));
  const count = Math.max(left.length, right.length);
  return Array.from({ length: count }, (_, at) =>
    `${(left[at] ?? "").padEnd(width)} | ${right[at] ?? ""}`.trimEnd(),
  );
}

/** The script as it happens, to be pasted in place of the one that is there. */
export function recordScript(fence: Fence, makeStack: StackFactory): string {
  const { script, exact } = fence;
  const { log, failure } = runScript(script, { mode: "record", exact, makeStack });
  const first = script.events.find(({ action }) => action.kind === "outbound")?.action;
  const model = first?.kind === "outbound" ? first.segment : undefined;
  const own = log.findIndex((entry) => "event" in entry && entry.event.isBefore !== true);
  let before = log[own - 1]?.time ?? 0;
  const lines = log.slice(Math.max(own, 0)).map((entry) => {
    const delta = Math.max(0, entry.time - before);
    before = Math.max(before, entry.time);
    return `+${formatTime(delta)}${entryText(entry, delta, model)}`;
  });
  return [...lines, ...(failure === undefined ? [] : [`// ${failure}`])].join("\n");
}

type Model = Parameters<typeof withScriptTimestamps>[2];

/** What follows the time. A wait keeps its length. */
function entryText(entry: LogEntry, delta: number, model: Model): string {
  if ("segment" in entry) {
    const segment = withScriptTimestamps(entry.flow, entry.segment, model);
    return describeSent({ ...entry, segment }).replace(/^\S+/, "");
  }
  const { event, step } = entry;
  const { time } = event;
  const waits = time.kind !== "any" && time.until !== undefined ? time.until - time.at : undefined;
  const end = waits === undefined ? "" : `...${formatTime(delta + waits)}`;
  const bare = event.text.replace(/^(?!%)\S+\s+/, "");
  const isResult = step.actual.startsWith("=") && event.action.kind === "call";
  return `${end} ${isResult ? bare.replace(/ = [^=]*$/, ` ${step.actual}`) : bare}`;
}
