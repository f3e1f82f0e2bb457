// `exasock COMMAND [ARG...]`: prepares the environment, sees that exasockd runs, and becomes the
// program. Nothing here may touch process.stdin, process.stdout or process.stderr on that way: the
// mere look makes Node change the descriptors (O_NONBLOCK, terminal modes), and the program has
// them next. Modules that few launches need are loaded when needed: every millisecond counts.

import { accessSync, constants, writeSync } from "node:fs";
import { resolve } from "node:path";
import { environmentStrings, readEnvironment, readLastArguments, shown } from "./environment.ts";
import { errno } from "./errno.ts";
import { AppError, INTERNAL_ERROR_STATUS } from "./errors.ts";
import { type LaunchState, takeLaunchState } from "./launch-state.ts";
import { BUILD_FOLDER, native } from "./native.ts";
import { cannotRun, findProgram, obstacleToPreload } from "./program.ts";
import { applySettings, type Environment, LIBRARY_FOLDER_VARIABLE } from "./settings.ts";
import { obstacleToStack } from "./stack-access.ts";

const LIBRARY = "libexasock.so";
const SHELL = "/bin/sh";

/** Straight to the descriptor; a message that does not fit a full pipe is dropped. */
function printError(line: string): void {
  try {
    writeSync(2, `${line}\n`);
  } catch {
    // Nowhere to say it.
  }
}

/** The library's path. Throws "library-missing". */
function findLibrary(environment: Environment): string {
  const folder = environment.get(LIBRARY_FOLDER_VARIABLE);
  const path = resolve(folder === undefined ? BUILD_FOLDER : folder, LIBRARY);
  try {
    accessSync(Buffer.from(path, "latin1"), constants.R_OK);
  } catch (cause) {
    const hint =
      folder === undefined
        ? `Run "npm run build", or set ${LIBRARY_FOLDER_VARIABLE} to the folder that holds it.`
        : `${LIBRARY_FOLDER_VARIABLE} must name the folder that holds it.`;
    const message = `Error: could not find ${LIBRARY}\n${hint}`;
    throw new AppError("library-missing", message, { cause });
  }
  if (/[ :]/.test(path)) {
    const message = `Error: LD_PRELOAD can't name ${shown(path)}: a space or ':' is in its path`;
    throw new AppError("library-missing", message);
  }
  return path;
}

/** Puts the library before all others, once. */
function preload(environment: Environment, library: string): void {
  environment.set("LD_PRELOAD", [library, ...otherLibraries(environment, library)].join(":"));
}

/** Takes the library out again, should the launcher itself run under exasock. */
function unload(environment: Environment, library: string): void {
  const others = otherLibraries(environment, library);
  if (others.length > 0) environment.set("LD_PRELOAD", others.join(":"));
  else environment.delete("LD_PRELOAD");
}

function otherLibraries(environment: Environment, library: string): string[] {
  const listed = (environment.get("LD_PRELOAD") ?? "").split(/[ :]/);
  return listed.filter((path) => path !== "" && path !== library);
}

/** Sets up the acceleration, or says why there will be none. Throws "required" with --require. */
async function accelerate(environment: Environment, program: string): Promise<void> {
  const library = findLibrary(environment);
  const identity = {
    uid: process.getuid?.() ?? 0,
    gid: process.getgid?.() ?? 0,
    hasCapabilities: (path: string) => native().hasCapabilities(path) === 1,
  };
  const obstacle = obstacleToPreload(program, identity) ?? (await obstacleToStack(environment));
  if (obstacle !== null) {
    const line = `not accelerated: ${obstacle.reason}`;
    if (environment.has("EXASOCK_REQUIRE")) throw new AppError("required", line);
    if (!environment.has("EXASOCK_NOWARN")) printError(`exasock warning: ${line}`);
  }
  if (obstacle?.preload === false) unload(environment, library);
  else preload(environment, library);
}

/** Passes on the descriptors that this process was given, and no others. */
function restoreDescriptors(given: readonly number[] | null): void {
  for (const fd of given ?? [0, 1, 2]) native().setCloseOnExec(fd, 0);
  // Node opens /dev/null in place of standard descriptors that are closed.
  for (const fd of [0, 1, 2]) if (given?.includes(fd) === false) native().close(fd);
}

/** Becomes the program; as execvp does, a file of unknown format is given to the shell. */
function become(
  path: string,
  argv: string[],
  environment: Environment,
  { fileLimit, ignored, blocked, descriptors }: LaunchState,
): never {
  const env = environmentStrings(environment);
  const { execute } = native();
  restoreDescriptors(descriptors);
  let result = execute(path, argv, env, fileLimit, ignored, blocked);
  if (result === -errno.ENOEXEC) {
    const script = [SHELL, path, ...argv.slice(1)];
    result = execute(SHELL, script, env, fileLimit, ignored, blocked);
  }
  throw cannotRun(shown(argv[0] ?? ""), errno.name(-result));
}

async function main(args: readonly string[]): Promise<void> {
  const environment = readEnvironment();
  const state = takeLaunchState(environment);
  let commandCount = args.length;
  let given: ReadonlyMap<string, string> = new Map();
  if (args.length === 0 || args[0]?.startsWith("-")) {
    const parsed = (await import("./command-line.ts")).parseCommandLine(args);
    if (parsed === null) return;
    ({ given, commandCount } = parsed);
  }
  applySettings(environment, given);
  if (commandCount === 0) throw new AppError("usage", "COMMAND is missing");
  const argv = readLastArguments(commandCount);
  const program = findProgram(argv[0] ?? "", environment.get("PATH"));
  await accelerate(environment, program);
  become(program, argv, environment, state);
}

const USAGE = "usage: exasock [OPTION...] COMMAND [ARG...]   (exasock --help explains)";

main(process.argv.slice(2)).catch((error: unknown) => {
  if (error instanceof AppError) {
    printError(error.code === "library-missing" ? error.message : `exasock: ${error.message}`);
    if (error.code === "usage") printError(USAGE);
    process.exitCode = error.exitStatus;
  } else {
    printError(`exasock: ${error instanceof Error ? error.stack : String(error)}`);
    process.exitCode = INTERNAL_ERROR_STATUS;
  }
});
