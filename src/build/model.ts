// What the AssemblyScript sources say about the region and the module's functions, in the form that
// the emitters (C, TypeScript, documentation) work from.

/** A type that has a fixed size in linear memory. */
export type Scalar = "bool" | "u8" | "i8" | "u16" | "i16" | "u32" | "i32" | "u64" | "i64";

/** An exported constant, `export const NAME: type = …`. */
export interface Constant {
  name: string;
  type: Scalar;
  value: bigint;
  doc: string;
  file: string;
}

/** An exported `const enum`. */
export interface Enumeration {
  name: string;
  members: { name: string; value: bigint; doc: string }[];
  doc: string;
  file: string;
}

/** One field of a structure; `offset` is in bytes from the structure's start. */
export interface Field {
  name: string;
  type: Scalar;
  offset: number;
  doc: string;
}

/** An exported `@unmanaged` class with fields. */
export interface Struct {
  name: string;
  fields: Field[];
  /** Where the last field ends. */
  endBytes: number;
  /** Distance of two neighbours in an array: NAME_BYTES where declared, else the rounded end. */
  strideBytes: number;
  /** Alignment of the widest field. */
  alignBytes: number;
  doc: string;
  file: string;
}

/** A function that crosses the module's boundary. */
export interface Signature {
  name: string;
  parameters: { name: string; type: Scalar }[];
  result: Scalar | "void";
  doc: string;
  file: string;
}

/** Everything that C and Node need to know about the stack. */
export interface Abi {
  constants: Constant[];
  enums: Enumeration[];
  structs: Struct[];
  exports: Signature[];
  imports: Signature[];
}

const SIZES: Record<Scalar, number> = {
  bool: 1,
  u8: 1,
  i8: 1,
  u16: 2,
  i16: 2,
  u32: 4,
  i32: 4,
  u64: 8,
  i64: 8,
};

/** Size of a scalar in bytes, which is its alignment too. */
export function sizeOf(type: Scalar): number {
  return SIZES[type];
}

/** Whether values of the type are bigints in JavaScript. */
export function isWide(type: Scalar): boolean {
  return SIZES[type] === 8;
}

/** `frameMeta` or `FrameMeta` to `FRAME_META`. */
export function upperSnake(name: string): string {
  return name.replace(/([a-z0-9])([A-Z])/g, "$1_$2").toUpperCase();
}
