// Reads the exported declarations of the AssemblyScript sources from their syntax trees. Values and
// offsets are not computed here: describe.ts has the compiler do that.

import { parseStack } from "./asc.ts";
import { BuildError } from "./errors.ts";
import type { Scalar } from "./model.ts";

interface Range {
  start: number;
  end: number;
}
interface Node {
  kind: string;
  range: Range;
}
interface Identifier extends Node {
  text: string;
}
interface Declaration extends Node {
  name: Identifier;
  flags: number;
  type?: Node | null;
}
interface Statement extends Declaration {
  declarations?: Declaration[];
  decorators?: { name: Identifier }[] | null;
  members?: (Declaration & { localName?: Identifier; exportedName?: Identifier })[] | null;
  values?: Declaration[];
  signature?: { parameters: { name: Identifier; type: Node }[]; returnType: Node };
  internalPath?: string | null;
}
interface Source {
  normalizedPath: string;
  internalPath: string;
  text: string;
  statements: Statement[];
}

/** The flags that matter here, as AssemblyScript numbers them (CommonFlags). */
const FLAG = { Export: 2, Declare: 4, Static: 32 } as const;

/** A name, the type as written, and the documentation comment. */
export interface Named {
  name: string;
  typeText: string;
  doc: string;
}
export interface DeclaredStruct {
  name: string;
  doc: string;
  file: string;
  fields: Named[];
}
export interface DeclaredFunction {
  name: string;
  doc: string;
  file: string;
  isDeclareOnly: boolean;
  parameters: { name: string; typeText: string }[];
  resultText: string;
}
export interface Declarations {
  constants: (Named & { file: string })[];
  enums: { name: string; doc: string; file: string; members: Named[] }[];
  structs: DeclaredStruct[];
  functions: DeclaredFunction[];
  /** `export { a as b } from "./file"`: who exports which name, and whose it is. */
  reexports: { file: string; name: string; target: string; targetName: string }[];
}

/** Collects the exported declarations of the given files (name relative to stack/, text). */
export async function readDeclarations(files: Map<string, string>): Promise<Declarations> {
  const found: Declarations = {
    constants: [],
    enums: [],
    structs: [],
    functions: [],
    reexports: [],
  };
  for (const source of (await parseStack(files)) as Source[]) {
    for (const statement of source.statements) readStatement(source, statement, found);
  }
  return found;
}

function readStatement(source: Source, statement: Statement, found: Declarations): void {
  const file = source.normalizedPath;
  const doc = docBefore(source.text, statement.range.start);
  const isExported = (node: Declaration) => (node.flags & FLAG.Export) !== 0;
  if (statement.kind === "Variable") {
    for (const one of (statement.declarations ?? []).filter(isExported)) {
      found.constants.push({ name: one.name.text, typeText: typeText(source, one), doc, file });
    }
  } else if (statement.kind === "Export" && statement.members) {
    const target = statement.internalPath ?? source.internalPath;
    for (const { localName, exportedName } of statement.members) {
      if (!localName || !exportedName) continue;
      const names = { name: exportedName.text, targetName: localName.text };
      found.reexports.push({ file, target: `${target}.ts`, ...names });
    }
  } else if (!isExported(statement)) {
    return;
  } else if (statement.kind === "EnumDeclaration") {
    const members = (statement.values ?? []).map((value) => named(source, value));
    found.enums.push({ name: statement.name.text, doc, file, members });
  } else if (statement.kind === "ClassDeclaration") {
    if (!statement.decorators?.some((one) => one.name.text === "unmanaged")) return;
    const fields = (statement.members ?? []).filter(
      (one) => one.kind === "FieldDeclaration" && !(one.flags & FLAG.Static),
    );
    const own = fields.map((field) => named(source, field));
    if (own.length > 0) found.structs.push({ name: statement.name.text, doc, file, fields: own });
  } else if (statement.kind === "FunctionDeclaration" && statement.signature) {
    const { parameters, returnType } = statement.signature;
    found.functions.push({
      name: statement.name.text,
      doc,
      file,
      isDeclareOnly: (statement.flags & FLAG.Declare) !== 0,
      parameters: parameters.map((one) => ({
        name: one.name.text,
        typeText: text(source, one.type),
      })),
      resultText: text(source, returnType),
    });
  }
}

function named(source: Source, node: Declaration): Named {
  const doc = docBefore(source.text, node.range.start) || docBehind(source.text, node.range.end);
  return { name: node.name.text, typeText: typeText(source, node), doc };
}

function typeText(source: Source, node: Declaration): string {
  return node.type ? text(source, node.type) : "";
}

function text(source: Source, node: Node): string {
  return source.text.slice(node.range.start, node.range.end);
}

/** The `/** … *\/` comment that ends right before `start`, as one paragraph of plain text. */
function docBefore(text: string, start: number): string {
  const before = text.slice(0, start).trimEnd();
  if (!before.endsWith("*/")) return "";
  const opening = before.lastIndexOf("/**");
  if (opening < 0 || before.indexOf("*/", opening) !== before.length - 2) return "";
  const lines = before.slice(opening + 3, -2).split("\n");
  return lines
    .map((line) => line.replace(/^\s*\*?\s?/, "").trim())
    .join(" ")
    .trim();
}

/** The `// …` comment on the rest of the line; a leading byte offset is left out. */
function docBehind(text: string, end: number): string {
  const rest = text.slice(end, text.indexOf("\n", end));
  const comment = /^[;,]?[ \t]*\/\/(.*)$/.exec(rest)?.[1] ?? "";
  return comment.trim().replace(/^\d+\s*/, "");
}

/** The scalar that a written type is stored as; undefined for what is none. */
export function scalarOf(written: string, found: Declarations): Scalar | undefined {
  if (/^(bool|[ui](8|16|32|64))$/.test(written)) return written as Scalar;
  if (written === "usize") return "u32";
  if (written === "isize") return "i32";
  const base = written.replace(/\s*\|\s*null$/, "");
  if (found.enums.some((one) => one.name === base)) return "i32";
  if (found.structs.some((one) => one.name === base)) return "u32";
  return undefined;
}

/** scalarOf that fails with the place of the offending declaration. */
export function needScalar(written: string, place: string, found: Declarations): Scalar {
  const scalar = scalarOf(written, found);
  if (!scalar)
    throw new BuildError(`stack/${place}: type ${written || "(none)"} has no fixed size`);
  return scalar;
}
