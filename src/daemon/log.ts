// Readable log lines on standard error: time, level, message, then what belongs to it.

import { writeSync } from "node:fs";
import { type Logger, pino, stdTimeFunctions } from "pino";

export type { Logger };
export const LOG_LEVELS = ["debug", "info", "warn", "error", "silent"] as const;

const STANDARD_FIELDS = new Set(["level", "time", "msg", "pid", "hostname", "err"]);

function formatValue(value: unknown): string {
  if (typeof value === "string" && /^[\w.:/*@+-]+$/.test(value)) return value;
  return JSON.stringify(value);
}

/** One JSON line of pino's as a line for people. */
export function formatLine(json: string): string {
  const entry = JSON.parse(json) as Record<string, unknown>;
  const level = String(entry.level).toUpperCase().padEnd(5);
  const error = entry.err as { message?: string; stack?: string } | undefined;
  const fields = Object.entries(entry)
    .filter(([name]) => !STANDARD_FIELDS.has(name))
    .map(([name, value]) => ` ${name}=${formatValue(value)}`)
    .join("");
  const detail = error === undefined ? "" : `: ${error.stack ?? error.message ?? ""}`;
  return `${entry.time} ${level} ${entry.msg}${fields}${detail}\n`;
}

function writeLine(json: string): void {
  try {
    writeSync(2, formatLine(json));
  } catch {
    // Nobody reads our standard error any more: the daemon goes on without a log.
  }
}

export function createLogger(level: string): Logger {
  return pino(
    {
      level,
      base: null,
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    { write: writeLine },
  );
}
