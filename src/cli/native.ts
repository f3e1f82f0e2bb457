// The few system calls that Node does not offer, from the addon (native/addon). Loaded when first
// needed: `--help` works without.

import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Native as Addon } from "../daemon/native.ts";
import { AppError } from "./errors.ts";

/** As in src/daemon/native.ts: each returns a number >= 0, or -errno. */
export interface Native
  extends Pick<
    Addon,
    "socket" | "bind" | "connect" | "send" | "receive" | "close" | "getSocketOption" | "coreBuild"
  > {
  /** 1 when the file has capabilities of its own. The path as bytes. */
  hasCapabilities(path: string): number;
  /** Becomes another program; returns only when that fails. Strings as bytes. */
  execute(
    path: string,
    argv: string[],
    env: string[],
    fileLimit: number,
    ignored: bigint,
    blocked: bigint,
  ): number;
  /** Whether programs that this process starts or becomes get the descriptor: 0 yes, 1 no. */
  setCloseOnExec(fd: number, on: number): number;
}

const here = dirname(fileURLToPath(import.meta.url));
/** This file runs as build/js/src/cli/native.js, and in tests as src/cli/native.ts. */
export const ROOT = join(here, here.endsWith("/build/js/src/cli") ? "../../../.." : "../..");
export const BUILD_FOLDER = join(ROOT, "build");

let loaded: Native | undefined;

/** Throws "library-missing" when the addon is not there or of another version of Node. */
export function native(): Native {
  if (loaded) return loaded;
  const path = join(BUILD_FOLDER, "exasock.node");
  try {
    loaded = createRequire(import.meta.url)(path) as Native;
    return loaded;
  } catch (cause) {
    const reason = (cause as Error).message.split("\n", 1)[0];
    const message = `could not load ${path} (${reason}); run "npm run build"`;
    throw new AppError("library-missing", message, { cause });
  }
}
