// Text for people: aligned columns, and colour where it is wanted.

import type { Level } from "./doctor.ts";

/** Colour only on a terminal, and never with NO_COLOR (no-color.org). */
export interface Style {
  color: boolean;
}

const COLORS: Readonly<Record<Level | "bold", number>> = { ok: 32, warn: 33, fail: 31, bold: 1 };

export function paint(style: Style, name: Level | "bold", text: string): string {
  return style.color ? `\x1b[${COLORS[name]}m${text}\x1b[0m` : text;
}

/** Numbers, with a unit or without, line up at their last digit; all else at its first letter. */
function isNumeric(cell: string): boolean {
  return /^\d/.test(cell);
}

/**
 * Rows as lines: columns two spaces apart, the first row a heading.
 *
 * Every row has as many cells as the heading.
 */
export function formatTable(rows: readonly (readonly string[])[]): string[] {
  const heading = rows[0] ?? [];
  const widths = heading.map((_, column) =>
    Math.max(...rows.map((row) => row[column]?.length ?? 0)),
  );
  const right = heading.map((_, column) => {
    const cells = rows.slice(1).map((row) => row[column] ?? "");
    return cells.length > 0 && cells.every(isNumeric) && !cells.some((cell) => /[.:]/.test(cell));
  });
  return rows.map((row) =>
    row
      .map((cell, column) => {
        const width = widths[column] ?? 0;
        return right[column] ? cell.padStart(width) : cell.padEnd(width);
      })
      .join("  ")
      .trimEnd(),
  );
}
