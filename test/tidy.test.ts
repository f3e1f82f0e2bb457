// The style of STYLE.md, as far as a machine can check it. Formatting, lint and function length of
// TypeScript are Biome's business.

import assert from "node:assert/strict";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { describe, it } from "node:test";
import { fromRoot, ROOT } from "../src/build/paths.ts";

const LINE_COLUMNS = 100;
const FUNCTION_LINES = 70;
const FILE_LINES_SOFT = 500;
const FILE_LINES_HARD = 800;
/** Included by what wasm2c generates. */
const GENERATED_INCLUDES = new Set(["wasm-rt.h"]);
const C_SHARE_PERCENT = 20;
const NOT_OURS = new Set(["node_modules", "build", ".git"]);

/** Files over the soft limit, each with the reason why it is one piece. */
const LONG_FILES = new Map<string, string>([
  ["stack/index.ts", "the stack's system calls, all in one place: this file is the ABI"],
]);

/** Files that something else than an import or a mention in code starts. */
const ENTRY_FILES = [
  /^src\/build\/setup\.mjs$/,
  /^src\/demo\/main\.ts$/,
  /^bench\/[^/]+\.ts$/,
  /^examples\//,
  /\.d\.ts$/,
  /\.test\.ts$/,
  /^stack\/(test\/)?index\.ts$/,
];

interface File {
  path: string;
  text: string;
  lines: string[];
}

function walk(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) {
      // Only the build folder at the top is generated; src/build is ours.
      return NOT_OURS.has(path) || entry.name === "node_modules" ? [] : walk(path);
    }
    return entry.isFile() ? [path] : [];
  });
}

function load(path: string): File {
  const text = readFileSync(fromRoot(path), "utf8");
  return { path, text, lines: text.split("\n") };
}

const ALL = walk("").map(load);
const byName = (pattern: RegExp) => ALL.filter((file) => pattern.test(file.path));
const SCRIPTS = byName(/^(bin\/|\.ci\/)/);
const TYPESCRIPT = byName(/\.(ts|mjs)$/);
const C = byName(/\.(c|h|S|def)$/);
const CODE = [...TYPESCRIPT, ...C, ...SCRIPTS];
const PROSE = byName(/\.md$/);

/** `file:line: text` of every line that the predicate picks. */
function places(files: File[], isBad: (line: string) => boolean): string[] {
  return files.flatMap(({ path, lines }) =>
    lines.flatMap((line, index) => (isBad(line) ? [`${path}:${index + 1}: ${line.trim()}`] : [])),
  );
}

/** Passes when nothing was found; otherwise shows what was. */
function none(found: string[]): void {
  assert.ok(found.length === 0, found.join("\n"));
}

describe("lines", () => {
  it(`have at most ${LINE_COLUMNS} columns`, () => {
    // Biome keeps the title of a test, a template string and a regular expression on one line.
    const kept = [/^\s*(it|test|describe)\(/, /`.*\$\{.*`/, /^\s*\/.*\/[gimsuy]*,?$/];
    const isUnbreakable = (line: string) => kept.some((one) => one.test(line));
    none(places(CODE, (line) => [...line].length > LINE_COLUMNS && !isUnbreakable(line)));
  });

  it("have no tabs and no spaces at their end", () => {
    none(places([...CODE, ...PROSE], (line) => /\t|\s$/.test(line)));
  });

  it("leave nothing to be done later", () => {
    // In halves, so that this file does not find itself.
    const words = [
      ["TO", "DO"],
      ["FIX", "ME"],
      ["XX", "X"],
      ["HA", "CK"],
    ].map((one) => one.join(""));
    const marks = new RegExp(`\\b(${words.join("|")})\\b`);
    none(places([...CODE, ...PROSE], (line) => marks.test(line)));
  });
});

describe("files", () => {
  it("end with one newline", () => {
    const bad = [...CODE, ...PROSE].filter(({ text }) => !/[^\n]\n$/.test(text));
    none(bad.map((file) => file.path));
  });

  it(`have at most ${FILE_LINES_SOFT} lines, or a reason, and never over ${FILE_LINES_HARD}`, () => {
    const long = CODE.filter(({ lines }) => lines.length - 1 > FILE_LINES_SOFT);
    const bad = long.filter(
      ({ path, lines }) => !LONG_FILES.has(path) || lines.length - 1 > FILE_LINES_HARD,
    );
    none(bad.map(({ path, lines }) => `${path} ${lines.length - 1}`));
    const unneeded = [...LONG_FILES.keys()].filter(
      (path) => !long.some((one) => one.path === path),
    );
    assert.deepEqual(unneeded, [], "no longer over the limit");
  });

  it("have names in kebab-case", () => {
    const bad = CODE.filter(({ path }) => !/^[a-z0-9.-]+$/.test(path.split("/").at(-1) ?? ""));
    none(bad.map((file) => file.path));
  });

  it("are all used: nothing that no other file reaches", () => {
    const known = new Set(ALL.map((file) => file.path));
    const imported = new Set(TYPESCRIPT.flatMap((file) => importsOf(file, known)));
    const dead = TYPESCRIPT.map((file) => file.path).filter(
      (path) =>
        !imported.has(path) && !ENTRY_FILES.some((entry) => entry.test(path)) && !isStarted(path),
    );
    const included = C.flatMap(({ text }) => [...text.matchAll(/#include "([^"]+)"/g)]);
    const headers = new Set(included.map((match) => match[1]?.split("/").at(-1)));
    for (const name of GENERATED_INCLUDES) headers.add(name);
    const deadHeaders = byName(/\.(h|def)$/).filter(
      ({ path }) => !headers.has(path.split("/").at(-1)),
    );
    none([...dead, ...deadHeaders.map((file) => file.path)]);
  });
});

/** Whether another file names it, as bin/ does its program and a test its child process. */
function isStarted(path: string): boolean {
  const name = (path.split("/").at(-1) ?? "").replace(/\.(ts|mjs)$/, "");
  const mention = new RegExp(`[/"]${name}\\.(ts|js|mjs)\\b`);
  return CODE.some((file) => file.path !== path && mention.test(file.text));
}

/** Paths of the repository's files that a TypeScript file imports. */
function importsOf({ path, text }: File, known: Set<string>): string[] {
  const specifiers = text.matchAll(/(?:from|import\(|import|new URL\()\s*"(\.[^"]+)"/g);
  return [...specifiers].map((match) => {
    const target = normalize(join(dirname(path), match[1] ?? ""));
    return known.has(target) ? target : `${target}.ts`;
  });
}

describe("the data plane", () => {
  it("has no variable at module level: state lives in the region", () => {
    const stack = byName(/^stack\/.*\.ts$/);
    none(places(stack, (line) => /^(export )?(let|var) /.test(line)));
  });

  it("has no mutable static field", () => {
    const stack = byName(/^stack\/.*\.ts$/);
    const isField = (line: string) => /^\s+static (?!readonly)\w+\s*[:=]/.test(line);
    none(places(stack, isField));
  });
});

describe("functions of the data plane", () => {
  it("are all called: asc does not even check the types of others", () => {
    // Tests of a function are no use of it.
    const files = byName(/^stack\/(?!test\/).*\.ts$/);
    const text = files.map((file) => file.text.replace(/\/\*[\s\S]*?\*\/|\/\/.*/g, "")).join("");
    const words = new Map<string, number>();
    for (const [word] of text.matchAll(/\w+/g)) words.set(word, (words.get(word) ?? 0) + 1);
    const declared = files
      .filter((file) => file.path !== "stack/index.ts")
      .flatMap(({ path, text: own }) =>
        [...own.matchAll(/^(?:export )?function (\w+)|^ {2}(?:static|get|set) (\w+)\(/gm)].map(
          (match) => ({ path, name: match[1] ?? match[2] ?? "" }),
        ),
      );
    // The build itself calls the layout checks.
    const dead = declared.filter(
      ({ name }) => words.get(name) === 1 && !/^check\w+Layout$/.test(name),
    );
    none(dead.map(({ path, name }) => `${path}: ${name}`));
  });
});

describe("C", () => {
  it(`has functions of at most ${FUNCTION_LINES} lines`, () => {
    none(C.flatMap(longFunctions));
  });

  it(`is less than ${C_SHARE_PERCENT} % of the code`, () => {
    const count = (files: File[]) =>
      files.flatMap((file) => file.lines).filter((line) => line.trim() !== "").length;
    const c = count(byName(/\.(c|h|S)$/));
    const share = (100 * c) / (c + count(byName(/\.ts$/)));
    assert.ok(share < C_SHARE_PERCENT, `${share.toFixed(1)} %`);
  });
});

/** Functions start with an opening brace at a line's end, at no indentation, and end with "}". */
function longFunctions({ path, lines }: File): string[] {
  const bad: string[] = [];
  let start = 0;
  for (const [index, line] of lines.entries()) {
    if (/^(?! |typedef|struct \w+ \{|enum|union|#).*\{$/.test(line)) start = index;
    if (line === "}" && index - start + 1 > FUNCTION_LINES) {
      bad.push(`${path}:${start + 1}: ${index - start + 1} lines`);
    }
  }
  return bad;
}

describe("tests", () => {
  it("are none of them skipped or run alone", () => {
    const tests = byName(/^test\/.*\.ts$/);
    const isMark = (line: string) => /\b(it|test|describe)\.(only|skip|todo)\(/.test(line);
    none(places(tests, isMark));
  });
});

describe("Markdown", () => {
  it("has exactly one title per page", () => {
    const bad = PROSE.filter(({ text }) => {
      const prose = text.replace(/^```[\s\S]*?^```/gm, "");
      return prose.match(/^# /gm)?.length !== 1;
    });
    none(bad.map((file) => file.path));
  });

  it("links to files that exist", () => {
    const bad = PROSE.flatMap(({ path, text }) =>
      [...text.matchAll(/\]\((?!https?:|#|mailto:)([^)#\s]+)[^)]*\)/g)]
        .map((match) => normalize(join(dirname(path), match[1] ?? "")))
        .filter((target) => !exists(target))
        .map((target) => `${path}: ${target}`),
    );
    none(bad);
  });
});

function exists(path: string): boolean {
  return statSync(fromRoot(path), { throwIfNoEntry: false }) !== undefined;
}

interface Entry {
  version?: string;
  dependencies?: Record<string, string>;
  optionalDependencies?: Record<string, string>;
}

describe("dependencies", () => {
  const manifest = JSON.parse(readFileSync(fromRoot("package.json"), "utf8")) as Record<
    string,
    Record<string, string>
  >;
  const versions = { ...manifest.dependencies, ...manifest.devDependencies };

  it("are pinned to one version each", () => {
    const loose = Object.entries(versions).filter(
      ([, version]) => !/^\d+\.\d+\.\d+(-[a-z]+\.\d+)?$/.test(version),
    );
    assert.deepEqual(loose, []);
  });

  it("are all in the lock, with a version each", () => {
    // npm ci refuses a lock that lacks a package, be it one for another platform.
    const lock = JSON.parse(readFileSync(fromRoot("package-lock.json"), "utf8")) as {
      packages: Record<string, Entry>;
    };
    const wanted = Object.values(lock.packages).flatMap((entry) =>
      Object.keys({ ...entry.dependencies, ...entry.optionalDependencies }),
    );
    none(wanted.filter((name) => !lock.packages[`node_modules/${name}`]?.version));
  });

  it("come from wherever npm is configured to look: the lock names no host", () => {
    assert.doesNotMatch(readFileSync(fromRoot("package-lock.json"), "utf8"), /"resolved"/);
  });
});
