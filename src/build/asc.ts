import { Worker } from "node:worker_threads";
import { BuildError } from "./errors.ts";
import { fromRoot } from "./paths.ts";

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
  /** Absolute paths of the files that were read. */
  inputs: string[];
}

interface Compiled {
  inputs: string[];
  messages: string[];
  outputs: Record<string, Uint8Array | string>;
  error: string | undefined;
}

/**
 * Compiles AssemblyScript. Any diagnostic at all, warnings included, is a BuildError: asc's
 * warnings name things that end up slow or wrong.
 */
export async function compileStack(job: AscJob): Promise<AscResult> {
  // The base directory must be absolute: asc would join a relative one twice.
  const base = ["--baseDir", fromRoot("stack")];
  const argv = [job.entry, ...base, "--target", job.target, "--outFile", "out.wasm"];
  const virtualFiles = job.virtualFiles ?? {};
  const done = (await inCompilerThread({ compile: { argv, virtualFiles } })) as Compiled;
  if (done.messages.length > 0) throw new BuildError(done.messages.join("\n"));
  if (done.error) throw new BuildError(`asc: ${done.error}`);
  const wasm = done.outputs["out.wasm"];
  if (!(wasm instanceof Uint8Array)) throw new BuildError("asc wrote no module");
  return { wasm, inputs: done.inputs };
}

/** Parses files (name relative to stack/, text); the result is described in declarations.ts. */
export async function parseStack(files: Map<string, string>): Promise<unknown> {
  return await inCompilerThread({ parse: { files } });
}

async function inCompilerThread(workerData: unknown): Promise<unknown> {
  return await new Promise((resolve, reject) => {
    // Without the parent's options, so that tsx stays out of the thread.
    const worker = new Worker(fromRoot("src/build/asc-worker.mjs"), { execArgv: [], workerData });
    worker.once("message", resolve);
    worker.once("error", reject);
    worker.once("exit", () => reject(new BuildError("the AssemblyScript compiler gave up")));
  });
}
