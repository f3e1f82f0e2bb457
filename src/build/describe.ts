// Asks the compiler for every exported constant, enum member and field offset of stack/, whether
// the product reaches it or not: a generated entry file exports each as an immutable global.

import { readFileSync } from "node:fs";
import { compileStack } from "./asc.ts";
import { type Declarations, needScalar, readDeclarations, scalarOf } from "./declarations.ts";
import { BuildError } from "./errors.ts";
import { type Abi, type Scalar, type Signature, type Struct, sizeOf, upperSnake } from "./model.ts";
import { fromRoot } from "./paths.ts";
import { readModule } from "./wasm.ts";

const ENTRY = "describe.ts";
const LAYOUT_CHECK = /^check\w+Layout$/;

/** Describes the sources (names relative to stack/) and the functions that `wasm` exports. */
export async function describeStack(files: string[], wasm: Uint8Array): Promise<Abi> {
  const texts = new Map(files.map((file) => [file, readFileSync(fromRoot("stack", file), "utf8")]));
  const found = await readDeclarations(texts);
  const values = await evaluate(found);
  const take = (expression: string): bigint => {
    const value = values.get(expression);
    if (value === undefined) throw new BuildError(`no value for ${expression}`);
    return value;
  };
  const constants = found.constants.flatMap((one) => {
    const type = scalarOf(one.typeText, found);
    if (!type) return [];
    return [{ name: one.name, type, value: take(one.name), doc: one.doc, file: one.file }];
  });
  const enums = found.enums.map((one) => ({
    ...one,
    members: one.members.map(({ name, doc }) => ({
      name,
      doc,
      value: take(`${one.name}.${name}`),
    })),
  }));
  const byName = new Map(constants.map((one) => [one.name, Number(one.value)]));
  const structs = found.structs.map((one): Struct => {
    const fields = one.fields.map(({ name, typeText, doc }) => ({
      name,
      doc,
      type: needScalar(typeText, `${one.file} ${one.name}.${name}`, found),
      offset: Number(take(`offsetof<${one.name}>("${name}")`)),
    }));
    const endBytes = Number(take(`offsetof<${one.name}>()`));
    const alignBytes = Math.max(...fields.map((field) => sizeOf(field.type)));
    const declared = byName.get(`${upperSnake(one.name)}_BYTES`);
    const strideBytes = stride(one.name, endBytes, alignBytes, declared);
    return {
      name: one.name,
      doc: one.doc,
      file: one.file,
      fields,
      endBytes,
      alignBytes,
      strideBytes,
    };
  });
  return { constants, enums, structs, ...signatures(found, wasm) };
}

function stride(name: string, end: number, align: number, declared: number | undefined): number {
  const rounded = Math.ceil(end / align) * align;
  if (declared === undefined) return rounded;
  if (declared < end) {
    const constant = `${upperSnake(name)}_BYTES`;
    throw new BuildError(`${constant} is ${declared}, but ${name}'s fields end at ${end}`);
  }
  return declared % align === 0 ? declared : rounded;
}

/** Compiles the generated entry file and reads its globals, by the expression that each holds. */
async function evaluate(found: Declarations): Promise<Map<string, bigint>> {
  const imports: string[] = [];
  const wanted: { expression: string; code: string; type: Scalar }[] = [];
  const seen = new Map<string, string>();
  const local = (name: string, file: string): string => {
    const elsewhere = seen.get(name);
    if (elsewhere) throw new BuildError(`${name} is exported by both ${elsewhere} and ${file}`);
    seen.set(name, file);
    const alias = `n${seen.size}`;
    imports.push(`import { ${name} as ${alias} } from "./${file.replace(/\.ts$/, "")}";`);
    return alias;
  };
  for (const { name, typeText, file } of found.constants) {
    const type = scalarOf(typeText, found);
    if (type) wanted.push({ expression: name, code: local(name, file), type });
    else if (typeText === "") needScalar("", `${file} ${name}`, found);
  }
  for (const { name, members, file } of found.enums) {
    const alias = local(name, file);
    for (const member of members) {
      const code = `${alias}.${member.name}`;
      wanted.push({ expression: `${name}.${member.name}`, code, type: "i32" });
    }
  }
  for (const { name, fields, file } of found.structs) {
    const alias = local(name, file);
    const end = { expression: `offsetof<${name}>()`, code: `offsetof<${alias}>()` };
    wanted.push({ ...end, type: "u32" });
    for (const field of fields) {
      const expression = `offsetof<${name}>("${field.name}")`;
      wanted.push({ expression, code: `offsetof<${alias}>("${field.name}")`, type: "u32" });
    }
  }
  // Functions that only hold compile-time checks: the product reaches none of them.
  const checks = found.functions.filter((one) => LAYOUT_CHECK.test(one.name));
  const calls = checks.map(({ name, file }) => `  ${local(name, file)}();`);
  const check = ["export function checkLayouts(): void {", ...calls, "}"];
  const globals = wanted.map(({ code, type }, index) => {
    const widened = type.startsWith("i") ? `<u64><i64>${code}` : `<u64>${code}`;
    return `export const g${index}: u64 = ${widened};`;
  });
  const entry = [...imports, ...check, ...globals, ""].join("\n");
  const virtualFiles = { [ENTRY]: entry };
  const { wasm } = await compileStack({ entry: ENTRY, target: "describe", virtualFiles });
  const { exports } = (await WebAssembly.instantiate(wasm)).instance;
  return new Map(
    wanted.map(({ expression, type }, index) => {
      const global = exports[`g${index}`] as { value: bigint };
      const signed = type.startsWith("i");
      return [
        expression,
        signed ? BigInt.asIntN(64, global.value) : BigInt.asUintN(64, global.value),
      ];
    }),
  );
}

/** The functions of the module's boundary, with the parameter names of their sources. */
function signatures(found: Declarations, wasm: Uint8Array): Pick<Abi, "exports" | "imports"> {
  const module = readModule(wasm);
  const functions = new Map(found.functions.map((one) => [`${one.file}:${one.name}`, one]));
  const describe = (key: string, name: string): Signature => {
    const one = functions.get(key);
    if (!one) throw new BuildError(`no source found for function ${name} (${key})`);
    const parameters = one.parameters.map((parameter) => ({
      name: parameter.name,
      type: needScalar(parameter.typeText, `${one.file} ${name}`, found),
    }));
    const isVoid = one.resultText === "void";
    const result = isVoid ? "void" : needScalar(one.resultText, `${one.file} ${name}`, found);
    return { name, parameters, result, doc: one.doc, file: one.file };
  };
  const resolve = (file: string, name: string): string => {
    const reexport = found.reexports.find((one) => one.file === file && one.name === name);
    if (!reexport) return `${file}:${name}`;
    if (reexport.target === file) return `${file}:${reexport.targetName}`;
    return resolve(reexport.target, reexport.targetName);
  };
  const exported = module.exports.filter((one) => one.kind === "function").map((one) => one.name);
  const imported = found.functions.filter((one) => one.isDeclareOnly && one.file === "host.ts");
  return {
    exports: exported.map((name) => describe(resolve("index.ts", name), name)),
    imports: imported.map((one) => describe(`${one.file}:${one.name}`, one.name)),
  };
}
