import { readFileSync } from "node:fs";
import { join } from "node:path";
import { BuildError } from "./errors.ts";
import { fromRoot } from "./paths.ts";

// asc's own declarations are not used: they bring AssemblyScript's ambient globals (`u8`, `assert`,
// `min`, …) into every file of the Node program, where a misspelling would then type-check.
interface Diagnostic {
  message: string;
  category: number;
  range: { start: number; source: { normalizedPath: string; text: string } } | null;
}
interface AscOptions {
  readFile(name: string, baseDir: string): string | null;
  writeFile(name: string, contents: Uint8Array | string): void;
  listFiles(): string[] | null;
  reportDiagnostic(diagnostic: Diagnostic): void;
  stdout: { write(text: string): void };
  stderr: { write(text: string): void };
}
interface Asc {
  main(argv: string[], options: AscOptions): Promise<{ error: Error | null }>;
}

/** What to compile: an entry file of stack/ and a target of stack/asconfig.json. */
export interface AscJob {
  entry: string;
  target: string;
  /** Source texts that exist only in memory, by file name relative to stack/. */
  virtualFiles?: Record<string, string>;
}

/** The compiled module, and what was read to make it. */
export interface AscResult {
  wasm: Uint8Array;
  sourceMap: string | undefined;
  /** Absolute paths of the files that were read. */
  inputs: string[];
}

/**
 * Compiles AssemblyScript. Any diagnostic at all, warnings included, is a BuildError: asc's
 * warnings name things that end up slow or wrong.
 */
export async function compileStack(job: AscJob): Promise<AscResult> {
  const specifier = "assemblyscript/asc";
  const asc = ((await import(specifier)) as { default: Asc }).default;
  const baseDir = fromRoot("stack");
  const messages: string[] = [];
  const inputs: string[] = [];
  const outputs = new Map<string, Uint8Array | string>();
  // The base directory must be absolute: asc would join a relative one twice.
  const argv = [job.entry, "--baseDir", baseDir, "--target", job.target, "--outFile", "out.wasm"];
  const { error } = await asc.main(argv, {
    readFile(name, directory) {
      const virtual = job.virtualFiles?.[name];
      if (virtual !== undefined) return virtual;
      const path = join(directory, name);
      const text = readIfPresent(path);
      if (text !== null) inputs.push(path);
      return text;
    },
    writeFile: (name, contents) => void outputs.set(name, contents),
    listFiles: () => null,
    reportDiagnostic: (diagnostic) => void messages.push(formatDiagnostic(diagnostic)),
    stdout: { write: () => {} },
    stderr: { write: () => {} },
  });
  if (messages.length > 0) throw new BuildError(messages.join("\n"));
  if (error) throw new BuildError(`asc: ${error.message}`);
  const wasm = outputs.get("out.wasm");
  if (!(wasm instanceof Uint8Array)) throw new BuildError("asc wrote no module");
  const sourceMap = outputs.get("out.wasm.map");
  return { wasm, sourceMap: typeof sourceMap === "string" ? sourceMap : undefined, inputs };
}

function readIfPresent(path: string): string | null {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return null; // asc asks for the same module under several names
  }
}

function formatDiagnostic(diagnostic: Diagnostic): string {
  if (!diagnostic.range) return `asc: ${diagnostic.message}`;
  const { source, start } = diagnostic.range;
  const before = source.text.slice(0, start).split("\n");
  const column = (before.at(-1) ?? "").length + 1;
  return `stack/${source.normalizedPath}:${before.length}:${column}: ${diagnostic.message}`;
}
