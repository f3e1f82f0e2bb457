import { spawn } from "node:child_process";
import { accessSync, constants, realpathSync, statSync } from "node:fs";
import { join } from "node:path";
import { BuildError } from "./errors.ts";

/** Runs a program and collects what it prints; a failure carries the program's messages. */
export async function runTool(program: string, args: string[]): Promise<string> {
  return await new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"] });
    const output: string[] = [];
    const messages: string[] = [];
    child.stdout.setEncoding("utf8").on("data", (text: string) => void output.push(text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => void messages.push(text));
    child.on("error", (cause) => reject(new BuildError(`${program}: ${cause.message}`, { cause })));
    child.on("close", (code) => {
      if (code === 0) return resolve(output.join(""));
      const text = messages.join("").trim() || output.join("").trim();
      reject(new BuildError(text || `${program}: exit ${code}`));
    });
  });
}

/**
 * Path of a program on PATH. A BuildError names the Debian package that has it when it is missing.
 */
export function needTool(name: string, debianPackage: string): string {
  for (const folder of (process.env.PATH ?? "").split(":")) {
    const path = join(folder, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Not in this folder.
    }
  }
  throw new BuildError(`${name} is missing: apt-get install ${debianPackage}`);
}

/** Something that changes when the program is upgraded, without running it. */
export function toolVersion(path: string): string {
  const real = realpathSync(path);
  const { size, mtimeMs } = statSync(real);
  return `${real} ${size} ${mtimeMs}`;
}
