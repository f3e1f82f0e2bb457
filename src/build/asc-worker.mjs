// The AssemblyScript compiler in a thread of plain Node. It is not loaded into the build's own
// thread: there tsx would go through the ten megabytes of its optimiser, which takes 6 seconds.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parentPort, workerData } from "node:worker_threads";
import * as compiler from "assemblyscript";
import asc from "assemblyscript/asc";

/** Compiles; see AscJob in asc.ts. */
async function compile({ argv, virtualFiles }) {
  const inputs = [];
  const messages = [];
  const outputs = {};
  const texts = new Map(Object.entries(virtualFiles));
  const { error } = await asc.main(argv, {
    readFile(name, directory) {
      if (virtualFiles[name] !== undefined) return virtualFiles[name];
      const path = join(directory, name);
      try {
        const text = readFileSync(path, "utf8");
        inputs.push(path);
        texts.set(name, text);
        return text;
      } catch {
        return null; // asc asks for the same module under several names
      }
    },
    writeFile(name, contents) {
      outputs[name] = contents;
    },
    listFiles: () => null,
    reportDiagnostic: (diagnostic) => void messages.push(formatDiagnostic(diagnostic, texts)),
    stdout: { write: () => {} },
    stderr: { write: () => {} },
  });
  return { inputs, messages, outputs, error: error?.message };
}

function formatDiagnostic({ message, range }, texts) {
  if (!range) return `asc: ${message}`;
  const file = range.source.normalizedPath;
  const text = texts.get(file);
  if (text === undefined) return `${file}: ${message}`;
  const before = text.slice(0, range.start).split("\n");
  return `stack/${file}:${before.length}:${before.at(-1).length + 1}: ${message}`;
}

/** Parses files without compiling them; see Source in declarations.ts. */
function parse({ files }) {
  const program = compiler.newProgram(compiler.newOptions());
  for (const [file, text] of files) compiler.parse(program, text, file, true);
  const sources = program.sources.filter((source) => files.has(source.normalizedPath));
  return sources.map(({ normalizedPath, internalPath, text, statements }) => {
    return { normalizedPath, internalPath, text, statements: statements.map(plain) };
  });
}

const COPIED = ["flags", "text", "internalPath"];
const FOLLOWED = ["name", "type", "localName", "exportedName", "signature", "returnType"];
const LISTED = ["declarations", "decorators", "members", "values", "parameters"];

/** The part of a syntax tree that declarations.ts looks at, as plain data. */
function plain(node) {
  const copy = { kind: compiler.NodeKind[node.kind] };
  copy.range = { start: node.range.start, end: node.range.end };
  for (const key of COPIED) if (node[key] !== undefined) copy[key] = node[key];
  for (const key of FOLLOWED) if (node[key]) copy[key] = plain(node[key]);
  for (const key of LISTED) if (node[key]) copy[key] = node[key].map(plain);
  return copy;
}

const { compile: toCompile, parse: toParse } = workerData;
parentPort.postMessage(toCompile ? await compile(toCompile) : parse(toParse));
