// Assembles WebAssembly modules by hand, section by section, for the tests of the purity gate.

const MAGIC = [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00];

/** The parts of a module; each list holds encoded entries. What is left out is the gate's ideal. */
export interface Parts {
  imports?: number[][];
  memories?: number[][];
  globals?: number[][];
  start?: number;
  elements?: number[][];
  /** Instructions of the only function, type () -> (), without the closing `end`. */
  code?: number[];
  data?: number[][];
}

/** Unsigned LEB128. */
export function leb(value: number): number[] {
  const bytes: number[] = [];
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return [...bytes, rest];
    bytes.push((rest % 128) + 128);
  }
}

export function name(text: string): number[] {
  return [...leb(text.length), ...Buffer.from(text)];
}

/** A memory of the size that the gate asks for. */
export const PLAIN_MEMORY = [0x01, ...leb(4096), ...leb(4096)];
/** Import of a function () -> (). */
export function functionImport(module: string, field: string): number[] {
  return [...name(module), ...name(field), 0x00, 0x00];
}

function section(id: number, entries: number[][]): number[] {
  if (entries.length === 0) return [];
  const body = [...leb(entries.length), ...entries.flat()];
  return [id, ...leb(body.length), ...body];
}

/** The module's bytes. */
export function assemble(parts: Parts = {}): Uint8Array {
  const body = [0x00, ...(parts.code ?? []), 0x0b];
  const start = parts.start === undefined ? [] : [8, 1, parts.start];
  const tables = parts.elements ? [[0x70, 0x00, 0x01]] : [];
  return Uint8Array.from([
    ...MAGIC,
    ...section(1, [[0x60, 0x00, 0x00]]),
    ...section(2, parts.imports ?? []),
    ...section(3, [[0x00]]),
    ...section(4, tables),
    ...section(5, parts.memories ?? [PLAIN_MEMORY]),
    ...section(6, parts.globals ?? []),
    ...start,
    ...section(9, parts.elements ?? []),
    ...section(10, [[...leb(body.length), ...body]]),
    ...section(11, parts.data ?? []),
  ]);
}
