// From C to the preload library, the Node addon, the BPF programs and the laboratory's own program.

import { existsSync, readFileSync, renameSync, rmSync, symlinkSync } from "node:fs";
import { basename } from "node:path";
import { readCalls } from "./calls.ts";
import { BuildError } from "./errors.ts";
import { fromRoot, ROOT } from "./paths.ts";
import { needTool, runTool, toolVersion } from "./run-tool.ts";
import { listFiles, type Step, writeAtomically } from "./steps.ts";

const CALLS = fromRoot("native/shim/calls.def");
const EXPORTS_MAP = fromRoot("build/gen/exports.map");
const PACKAGE = fromRoot("package.json");
const VERSION_H = fromRoot("build/gen/version.h");
const BPF_HELPERS = "/usr/include/bpf/bpf_helpers.h";
const TRIPLETS: Record<string, string> = { x64: "x86_64-linux-gnu", arm64: "aarch64-linux-gnu" };

const WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror"];
// Generated C is included as a system header: its warnings are wasm2c's business.
const INCLUDES = ["native/core", "native/shim", "native/addon", "include"].map(
  (path) => `-I${fromRoot(path)}`,
);
const SYSTEM_INCLUDES = ["build", "build/gen", "node_modules/node-api-headers/include"].flatMap(
  (path) => ["-isystem", fromRoot(path)],
);
// Empty, as a file's own #define has it.
const EXTENSIONS = ["-std=gnu11", "-D_GNU_SOURCE="];
const C_FLAGS = [
  ...EXTENSIONS,
  "-ferror-limit=5",
  "-g",
  "-fPIC",
  "-fvisibility=hidden",
  "-fno-plt",
  ...WARNINGS,
];
// The instance's memory is bytes that the stack and C see as different types.
const OPTIMISED = ["-O2", "-fno-strict-aliasing"];
// Pairing scalars into vectors costs more than it saves: a counter becomes five instructions.
const SCALAR = ["-fno-slp-vectorize"];
const CORE_OPTIMISED = ["-O3", "-fno-strict-aliasing", "-fno-math-errno", ...SCALAR];
/** What must exist before any C can be compiled. */
const GENERATED_STEPS = ["stack.c", "layout", "build-hash", "version.h"];
const SHARED = "-shared";
/** What programs that use <exasock/extensions.h> link with, and its name at run time. */
const EXT = "libexasock_ext.so";
const EXT_RUN = `${EXT}.1`;

/** The steps; a product whose folder has no sources yet has none. */
export function nativeSteps(): Step[] {
  const core = compileSteps("core", CORE_OPTIMISED);
  const shim = compileSteps("shim", OPTIMISED);
  const addon = compileSteps("addon", OPTIMISED);
  const ext = compileSteps("ext", OPTIMISED);
  const steps = [versionStep(), ...core, ...shim, ...addon, ...ext, ...bpfSteps()];
  if (core.length > 0 && shim.length > 0) {
    const flags = [SHARED, "-Wl,-z,defs", "-Wl,-z,now", `-Wl,--version-script=${EXPORTS_MAP}`];
    const link = linkStep("libexasock.so", [...core, ...shim], flags, ["-lpthread", "-ldl"]);
    link.after.push("exports.map");
    link.inputs.push(EXPORTS_MAP);
    steps.push(exportsMapStep(), link);
  }
  if (core.length > 0 && addon.length > 0) {
    steps.push(linkStep("exasock.node", [...core, ...addon], [SHARED], ["-lbpf", "-lpthread"]));
  }
  if (ext.length > 0) {
    steps.push(linkStep(EXT_RUN, ext, [SHARED, `-Wl,-soname,${EXT_RUN}`], []), extLinkStep());
  }
  const lab = compileSteps("lab", OPTIMISED);
  if (lab.length > 0) steps.push(...lab, linkStep("impair", lab, [], []));
  return steps;
}

function compileSteps(folder: string, optimisation: string[]): Step[] {
  return listFiles(`native/${folder}`, /^[^/]+\.[cS]$/).map((source) => {
    const stem = basename(source).replace(/\.[cS]$/, "");
    const output = fromRoot("build/obj", folder, `${stem}.o`);
    const flags = [...C_FLAGS, ...optimisation, ...INCLUDES, ...SYSTEM_INCLUDES];
    const needs = [...GENERATED_STEPS, ...(folder === "shim" ? ["exports.map"] : [])];
    return clangStep(`obj/${folder}/${stem}.o`, source, output, flags, needs);
  });
}

function bpfSteps(): Step[] {
  const triplet = TRIPLETS[process.arch];
  if (!triplet) throw new BuildError(`no BPF headers known for a ${process.arch} machine`);
  return listFiles("native/bpf", /\.bpf\.c$/).map((source) => {
    const name = basename(source).replace(/\.c$/, ".o");
    const includes = ["-isystem", `/usr/include/${triplet}`, `-I${fromRoot("build/gen")}`];
    const flags = ["-O2", "-g", "-target", "bpf", "-Wall", "-Wextra", "-Werror", ...includes];
    return clangStep(name, source, fromRoot("build", name), flags, ["layout"]);
  });
}

function clangStep(
  name: string,
  source: string,
  output: string,
  flags: string[],
  after: string[],
): Step {
  return {
    name,
    after,
    inputs: [source],
    outputs: [output],
    settings: `${flags.join(" ")} ${clangVersion()}`,
    async run() {
      const clang = needTool("clang", "clang");
      if (!existsSync(BPF_HELPERS)) {
        throw new BuildError(`${BPF_HELPERS} is missing: apt-get install libbpf-dev`);
      }
      const dependencies = `${output}.d`;
      const files = ["-MD", "-MF", dependencies, "-c", source, "-o", `${output}.new`];
      await runTool(clang, [...flags, ...files]);
      renameSync(`${output}.new`, output);
      return readDependencies(dependencies);
    },
  };
}

function clangVersion(): string {
  try {
    return toolVersion(needTool("clang", "clang"));
  } catch {
    return "missing"; // reported by the step that needs it
  }
}

/** The files of the repository that a make-style dependency file names. */
function readDependencies(path: string): string[] {
  const [, list = ""] = readFileSync(path, "utf8").split(/:\s/, 2);
  const names = list.split(/[\s\\]+/).filter((name) => name.startsWith(ROOT));
  return [...new Set(names.map((name) => fromRoot(name.slice(ROOT.length))))];
}

function linkStep(name: string, objects: Step[], flags: string[], libraries: string[]): Step {
  const output = fromRoot("build", name);
  const inputs = objects.flatMap((step) => step.outputs);
  return {
    name,
    after: objects.map((step) => step.name),
    inputs: [...inputs],
    outputs: [output],
    settings: `${flags.join(" ")} ${libraries.join(" ")} ${clangVersion()}`,
    async run() {
      const clang = needTool("clang", "clang");
      const files = [...inputs, "-o", `${output}.new`];
      await runTool(clang, ["-O2", ...flags, ...files, ...libraries]);
      renameSync(`${output}.new`, output);
      return [];
    },
  };
}

/** The name that `-lexasock_ext` looks for. */
function extLinkStep(): Step {
  const output = fromRoot("build", EXT);
  return {
    name: EXT,
    after: [EXT_RUN],
    inputs: [],
    outputs: [output],
    settings: EXT_RUN,
    async run() {
      rmSync(output, { force: true });
      symlinkSync(EXT_RUN, output);
      return [];
    },
  };
}

/** The version of the package, for C. */
function versionStep(): Step {
  return {
    name: "version.h",
    after: [],
    inputs: [PACKAGE],
    outputs: [VERSION_H],
    settings: "",
    async run() {
      const { version } = JSON.parse(readFileSync(PACKAGE, "utf8")) as { version: string };
      const [major, minor, revision] = version.split(".");
      const defines = { MAJOR: major, MINOR: minor, REVISION: revision, TEXT: `"${version}"` };
      const lines = Object.entries(defines).map(([name, value]) => {
        return `#define VERSION_${name} ${value}\n`;
      });
      const first = "/* Generated by src/build/native-steps.ts. Do not edit. */";
      writeAtomically(VERSION_H, `${first}\n${lines.join("")}`);
      return [];
    },
  };
}

function exportsMapStep(): Step {
  return {
    name: "exports.map",
    after: [],
    inputs: [CALLS],
    outputs: [EXPORTS_MAP],
    settings: "",
    async run() {
      const names = readCalls(readFileSync(CALLS, "utf8")).map((one) => one.name);
      if (names.length === 0) throw new BuildError("native/shim/calls.def names no function");
      const lines = names.map((name) => `    ${name};`).join("\n");
      writeAtomically(EXPORTS_MAP, `{\n  global:\n${lines}\n  local:\n    *;\n};\n`);
      return [];
    },
  };
}
