// Finding the program as a shell would, and telling whether a library can be preloaded into it.

import { accessSync, closeSync, constants, fstatSync, openSync, readSync, statSync } from "node:fs";
import { basename } from "node:path";
import { shown } from "./environment.ts";
import { AppError } from "./errors.ts";

/** What execvp searches when PATH is not set. */
const PATH_DEFAULT = "/bin:/usr/bin";
/** The kernel follows as many `#!` lines (BINPRM's limit of 5 files). */
const SCRIPT_DEPTH_MAX = 5;
const HEAD_BYTES = 4096;

/** ELF constants, elf(5). */
const ELF_CLASS_64 = 2;
const SEGMENT_INTERPRETER = 3;
const PROGRAM_HEADER_BYTES = 56;

function file(path: string): Buffer {
  return Buffer.from(path, "latin1");
}

function errorCode(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? "";
}

/** "" when the path can be executed, else the errno's name. */
function executability(path: string): string {
  try {
    if (statSync(file(path)).isDirectory()) return "EISDIR";
    accessSync(file(path), constants.X_OK);
    return "";
  } catch (error) {
    return errorCode(error);
  }
}

/**
 * The path that execvp would execute. Bytes in, bytes out.
 *
 * Throws "command-not-found" (127) or "command-not-executable" (126).
 */
export function findProgram(command: string, path: string | undefined): string {
  const name = shown(command);
  if (command.includes("/")) {
    const problem = executability(command);
    if (problem === "") return command;
    throw cannotRun(name, problem);
  }
  let denied = "";
  for (const folder of command === "" ? [] : (path ?? PATH_DEFAULT).split(":")) {
    const candidate = folder === "" ? `./${command}` : `${folder}/${command}`;
    const problem = executability(candidate);
    if (problem === "") return candidate;
    if (problem === "EACCES") denied = problem;
  }
  if (denied !== "") throw cannotRun(name, denied);
  throw new AppError("command-not-found", `${name || '""'}: command not found`);
}

/** The error for a command that exists in name only; `problem` is an errno's name. */
export function cannotRun(name: string, problem: string): AppError {
  const texts: Record<string, string> = {
    ENOENT: "No such file or directory",
    ENOTDIR: "Not a directory",
    EACCES: "Permission denied",
    EISDIR: "Is a directory",
    ENOEXEC: "Exec format error",
    ELOOP: "Too many levels of symbolic links",
    E2BIG: "Argument list too long",
    ENOMEM: "Cannot allocate memory",
    ETXTBSY: "Text file busy",
  };
  const missing = problem === "ENOENT" || problem === "ENOTDIR";
  return new AppError(
    missing ? "command-not-found" : "command-not-executable",
    `${name}: ${texts[problem] ?? problem}`,
  );
}

/** Why a program will not be accelerated. */
export interface Obstacle {
  reason: string;
  /** Preload the library nevertheless: what the program starts may be accelerated. */
  preload: boolean;
}

interface Identity {
  uid: number;
  gid: number;
  hasCapabilities: (path: string) => boolean;
}

/**
 * Why the library can't be preloaded into the program at `path`; null when it can.
 *
 * A file that may be executed but not read is taken to be an ordinary program.
 */
export function obstacleToPreload(path: string, identity: Identity): Obstacle | null {
  let current = path;
  for (let depth = 0; depth < SCRIPT_DEPTH_MAX; depth++) {
    let fd: number;
    try {
      fd = openSync(file(current), "r");
    } catch {
      return null;
    }
    try {
      const head = Buffer.alloc(HEAD_BYTES);
      const bytes = head.subarray(0, readSync(fd, head, 0, HEAD_BYTES, 0));
      const interpreter = scriptInterpreter(bytes);
      if (interpreter === null) {
        const obstacle = privilegeObstacle(fd, current, identity) ?? elfObstacle(fd, bytes);
        return obstacle && { ...obstacle, reason: `${shown(current)} ${obstacle.reason}` };
      }
      current = interpreter;
    } finally {
      closeSync(fd);
    }
  }
  return null;
}

function scriptInterpreter(head: Buffer): string | null {
  const line = /^#![ \t]*([^\s\0]+)/.exec(head.toString("latin1"));
  return line?.[1] ?? null;
}

/** The dynamic linker ignores preloaded libraries where a program gains privileges (AT_SECURE). */
function privilegeObstacle(fd: number, path: string, identity: Identity): Obstacle | null {
  const { mode, uid, gid } = fstatSync(fd);
  // Set-group-ID counts only together with group execute: alone it once meant mandatory locking.
  const groupBits = 0o2010;
  if ((mode & 0o4000) !== 0 && uid !== identity.uid) return privileged("set-user-ID");
  if ((mode & groupBits) === groupBits && gid !== identity.gid) return privileged("set-group-ID");
  if (identity.uid !== 0 && identity.hasCapabilities(path)) return privileged("file capabilities");
  return null;
}

function privileged(kind: string): Obstacle {
  return { reason: `gains privileges when it starts (${kind})`, preload: true };
}

function elfObstacle(fd: number, head: Buffer): Obstacle | null {
  if (head.length < 64 || head.readUInt32BE(0) !== 0x7f454c46) return null;
  // These dynamic linkers would complain or fail, and not just ignore the library.
  if (head[4] !== ELF_CLASS_64) return { reason: "is a 32-bit program", preload: false };
  const interpreter = elfInterpreter(fd, head);
  if (interpreter === null) return { reason: "is statically linked", preload: true };
  if (basename(interpreter).startsWith("ld-linux")) return null;
  return { reason: `does not use glibc (but ${shown(interpreter)})`, preload: false };
}

/** Bytes read; 0 for a position that no file has. */
function readAt(fd: number, into: Buffer, position: number): number {
  return Number.isSafeInteger(position) ? readSync(fd, into, 0, into.length, position) : 0;
}

/** The dynamic linker that a 64-bit little-endian ELF file names; null when it names none. */
function elfInterpreter(fd: number, head: Buffer): string | null {
  const at = Number(head.readBigUInt64LE(32));
  const stride = head.readUInt16LE(54);
  const count = head.readUInt16LE(56);
  const header = Buffer.alloc(PROGRAM_HEADER_BYTES);
  for (let i = 0; i < count; i++) {
    if (readAt(fd, header, at + i * stride) < header.length) return null;
    if (header.readUInt32LE(0) !== SEGMENT_INTERPRETER) continue;
    const name = Buffer.alloc(Math.min(Number(header.readBigUInt64LE(32)), HEAD_BYTES));
    const bytes = readAt(fd, name, Number(header.readBigUInt64LE(8)));
    return name.toString("latin1", 0, bytes).replace(/\0.*/s, "");
  }
  return null;
}
