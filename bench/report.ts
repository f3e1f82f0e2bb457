// Tables of measured figures, each with the limit it must keep and the command that made it.

import { formatTable } from "../src/cli/output.ts";

const NUMBER_WIDTH = 9;

/** One measured figure. */
export interface Figure {
  name: string;
  value: number;
  unit: string;
  /** The most it may be; missing when nothing was promised. */
  limit?: number;
}

/** Figures that belong together. */
export interface Section {
  title: string;
  /** How it was measured, one line each. */
  method: string[];
  figures: Figure[];
}

export function quantile(numbers: readonly number[], share: number): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

export function median(numbers: readonly number[]): number {
  return quantile(numbers, 0.5);
}

function format(value: number): string {
  if (Math.abs(value) >= 1000) return value.toFixed(0);
  return value.toFixed(Math.abs(value) >= 100 ? 1 : 2);
}

/** True when every figure that has a limit keeps it. */
export function isKept({ value, limit }: Figure): boolean {
  return limit === undefined || value <= limit;
}

export function render({ title, method, figures }: Section): string {
  const rows = figures.map((figure) => {
    const { name, value, unit, limit } = figure;
    const promise = limit === undefined ? "" : `at most ${format(limit)}`;
    const verdict = limit === undefined ? "" : isKept(figure) ? "kept" : "NOT KEPT";
    return [name, format(value).padStart(NUMBER_WIDTH), unit, promise, verdict];
  });
  const header = ["", "measured".padStart(NUMBER_WIDTH), "", "limit", ""];
  return [`## ${title}`, "", ...method, "", ...formatTable([header, ...rows]), ""].join("\n");
}
