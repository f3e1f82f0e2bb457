// A reader for WebAssembly binaries (core specification 2.0, chapter 5), as far as the purity gate
// needs it: sections and every instruction of every body.

import { BuildError } from "./errors.ts";

/** One instruction: its name for messages, and the byte offset within the file. */
export interface Instruction {
  opcode: number;
  /** The second opcode of the prefixes 0xFC, 0xFD and 0xFE. */
  sub: number;
  at: number;
}
export interface WasmImport {
  module: string;
  name: string;
  kind: ExternalKind;
}
export interface WasmModule {
  imports: WasmImport[];
  exports: { name: string; kind: ExternalKind; index: number }[];
  globals: { mutable: boolean }[];
  memories: { initial: number; maximum: number | undefined; shared: boolean }[];
  /** Function index of the start function. */
  start: number | undefined;
  dataSegments: number;
  elementSegments: number;
  /** Bodies of the functions that the module defines, after the imported ones. */
  bodies: Instruction[][];
}
export type ExternalKind = "function" | "table" | "memory" | "global" | "tag";

const KINDS: readonly ExternalKind[] = ["function", "table", "memory", "global", "tag"];
const PREFIX_MISC = 0xfc;
/** First byte of the vector (SIMD) instructions. */
export const PREFIX_SIMD = 0xfd;
/** First byte of the atomic instructions. */
export const PREFIX_ATOMIC = 0xfe;

class Reader {
  at = 0;
  readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  byte(): number {
    const value = this.bytes[this.at];
    if (value === undefined) throw new BuildError(`wasm: the file ends at ${this.at}`);
    this.at += 1;
    return value;
  }

  /** LEB128; exact up to 2^53, which offsets, counts and indices never reach. */
  unsigned(): number {
    let value = 0;
    let scale = 1;
    for (;;) {
      const byte = this.byte();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
      scale *= 128;
    }
  }

  /** Constants and block types: their value does not matter here. */
  skipSigned(): void {
    while (this.byte() >= 0x80);
  }

  name(): string {
    const length = this.unsigned();
    const text = new TextDecoder().decode(this.bytes.subarray(this.at, this.at + length));
    this.at += length;
    return text;
  }

  vector<T>(read: () => T): T[] {
    return Array.from({ length: this.unsigned() }, read);
  }
}

/** Parses a module; a BuildError names the offset of anything unknown. */
export function readModule(bytes: Uint8Array): WasmModule {
  const reader = new Reader(bytes);
  const header = [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00];
  if (!header.every((byte) => reader.byte() === byte)) throw new BuildError("wasm: no module");
  const module: WasmModule = {
    imports: [],
    exports: [],
    globals: [],
    memories: [],
    start: undefined,
    dataSegments: 0,
    elementSegments: 0,
    bodies: [],
  };
  while (reader.at < bytes.length) {
    const id = reader.byte();
    const length = reader.unsigned();
    const end = reader.at + length;
    readSection(reader, id, module);
    reader.at = end;
  }
  return module;
}

function readSection(reader: Reader, id: number, module: WasmModule): void {
  if (id === 2) module.imports = reader.vector(() => readImport(reader, module));
  else if (id === 5) module.memories.push(...reader.vector(() => readMemoryType(reader)));
  else if (id === 6) module.globals.push(...reader.vector(() => readGlobal(reader)));
  else if (id === 7) module.exports = reader.vector(() => readExport(reader));
  else if (id === 8) module.start = reader.unsigned();
  else if (id === 9) module.elementSegments = reader.unsigned();
  else if (id === 10) module.bodies = reader.vector(() => readBody(reader));
  else if (id === 11) module.dataSegments = reader.unsigned();
}

function readImport(reader: Reader, module: WasmModule): WasmImport {
  const names = { module: reader.name(), name: reader.name() };
  const kind = kindOf(reader.byte());
  if (kind === "function") reader.unsigned();
  else if (kind === "memory") module.memories.push(readMemoryType(reader));
  else if (kind === "global") module.globals.push(readGlobalType(reader));
  else if (kind === "table") {
    reader.byte();
    readMemoryType(reader);
  } else {
    reader.byte();
    reader.unsigned();
  }
  return { ...names, kind };
}

function kindOf(byte: number): ExternalKind {
  const kind = KINDS[byte];
  if (!kind) throw new BuildError(`wasm: unknown kind of import or export ${byte}`);
  return kind;
}

function readMemoryType(reader: Reader): WasmModule["memories"][number] {
  const flags = reader.byte();
  const initial = reader.unsigned();
  const maximum = flags & 1 ? reader.unsigned() : undefined;
  return { initial, maximum, shared: (flags & 2) !== 0 };
}

function readGlobalType(reader: Reader): { mutable: boolean } {
  reader.byte();
  return { mutable: reader.byte() === 1 };
}

function readGlobal(reader: Reader): { mutable: boolean } {
  const type = readGlobalType(reader);
  readExpression(reader);
  return type;
}

function readExport(reader: Reader): WasmModule["exports"][number] {
  return { name: reader.name(), kind: kindOf(reader.byte()), index: reader.unsigned() };
}

function readBody(reader: Reader): Instruction[] {
  const end = reader.unsigned() + reader.at;
  reader.vector(() => [reader.unsigned(), reader.byte()]); // locals: count and type
  const body = readExpression(reader);
  if (reader.at !== end) throw new BuildError(`wasm: the body that ends at ${end} was misread`);
  return body;
}

/** Reads instructions up to the `end` that closes the expression. */
function readExpression(reader: Reader): Instruction[] {
  const instructions: Instruction[] = [];
  for (let depth = 1; depth > 0; ) {
    const at = reader.at;
    const opcode = reader.byte();
    const isPrefix = opcode >= PREFIX_MISC && opcode <= PREFIX_ATOMIC;
    const sub = isPrefix ? reader.unsigned() : 0;
    instructions.push({ opcode, sub, at });
    if (opcode === 0x0b) depth -= 1;
    else if (opcode >= 0x02 && opcode <= 0x04) depth += 1;
    if (opcode === PREFIX_MISC) skipMiscOperands(reader, sub, at);
    else if (opcode === PREFIX_SIMD) skipSimdOperands(reader, sub);
    else if (opcode === PREFIX_ATOMIC) skipAtomicOperands(reader, sub);
    else skipOperands(reader, opcode, at);
  }
  return instructions;
}

function skipOperands(reader: Reader, opcode: number, at: number): void {
  const takesNothing =
    opcode <= 0x01 ||
    opcode === 0x05 ||
    opcode === 0x0b ||
    opcode === 0x0f ||
    opcode === 0x1a ||
    opcode === 0x1b ||
    (opcode >= 0x45 && opcode <= 0xc4) ||
    opcode === 0xd1;
  if (takesNothing) return;
  if (opcode >= 0x02 && opcode <= 0x04)
    reader.skipSigned(); // block type
  else if (opcode === 0x0c || opcode === 0x0d || opcode === 0x10) reader.unsigned();
  else if (opcode === 0x0e) {
    reader.vector(() => reader.unsigned());
    reader.unsigned();
  } else if (opcode === 0x11) {
    reader.unsigned();
    reader.unsigned();
  } else if (opcode === 0x1c) reader.vector(() => reader.byte());
  else if (opcode >= 0x20 && opcode <= 0x26) reader.unsigned();
  else if (opcode >= 0x28 && opcode <= 0x3e) skipMemoryArgument(reader);
  else if (opcode === 0x3f || opcode === 0x40) reader.byte();
  else if (opcode === 0x41 || opcode === 0x42) reader.skipSigned();
  else if (opcode === 0x43) reader.at += 4;
  else if (opcode === 0x44) reader.at += 8;
  else if (opcode === 0xd0) reader.byte();
  else if (opcode === 0xd2) reader.unsigned();
  else throw new BuildError(`wasm: unknown opcode 0x${opcode.toString(16)} at ${at}`);
}

function skipMemoryArgument(reader: Reader): void {
  reader.unsigned(); // alignment
  reader.unsigned(); // offset
}

function skipMiscOperands(reader: Reader, sub: number, at: number): void {
  if (sub <= 7) return; // saturating truncation
  const counts: Record<number, number> = {
    8: 2,
    9: 1,
    10: 2,
    11: 1,
    12: 2,
    13: 1,
    14: 2,
    15: 1,
    16: 1,
    17: 1,
  };
  const count = counts[sub];
  if (count === undefined) throw new BuildError(`wasm: unknown opcode 0xfc ${sub} at ${at}`);
  for (let index = 0; index < count; index++) reader.unsigned();
}

function skipSimdOperands(reader: Reader, sub: number): void {
  if (sub <= 11 || sub === 92 || sub === 93) skipMemoryArgument(reader);
  else if (sub === 12 || sub === 13)
    reader.at += 16; // constant, shuffle
  else if (sub >= 21 && sub <= 34)
    reader.byte(); // lane
  else if (sub >= 84 && sub <= 91) {
    skipMemoryArgument(reader);
    reader.byte();
  }
}

function skipAtomicOperands(reader: Reader, sub: number): void {
  if (sub === 3)
    reader.byte(); // fence
  else skipMemoryArgument(reader);
}
