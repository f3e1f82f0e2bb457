// What `bin/exasock` noted of its process before Node changed it, for the program to get back.

import type { Environment } from "./settings.ts";

const STATE_VARIABLE = "EXASOCK_LAUNCH_STATE";
const NODE_OPTIONS_VARIABLE = "EXASOCK_LAUNCH_NODE_OPTIONS";

export interface LaunchState {
  /** Soft RLIMIT_NOFILE; -1 leaves it. */
  fileLimit: number;
  /** Signal masks: bit n-1 stands for signal n. */
  ignored: bigint;
  blocked: bigint;
  /** Descriptors that were passed on; null when unknown. */
  descriptors: number[] | null;
}

function hex(text: string | undefined): bigint {
  return text && /^[0-9a-f]{1,16}$/.test(text) ? BigInt(`0x${text}`) : 0n;
}

/**
 * Takes the note out of the environment. Without one (the launcher was not started by
 * `bin/exasock`) the program gets the usual: no signal ignored or blocked, the limit unchanged.
 */
export function takeLaunchState(environment: Environment): LaunchState {
  const note = environment.get(STATE_VARIABLE) ?? "";
  environment.delete(STATE_VARIABLE);
  const nodeOptions = environment.get(NODE_OPTIONS_VARIABLE);
  if (nodeOptions !== undefined) {
    environment.delete(NODE_OPTIONS_VARIABLE);
    environment.set("NODE_OPTIONS", nodeOptions);
  }
  const fields = new Map(note.split(" ").map((field) => field.split("=", 2) as [string, string]));
  const limit = fields.get("nofile") ?? "";
  const descriptors = fields.get("descriptors");
  return {
    fileLimit: /^\d+$/.test(limit) ? Number(limit) : -1,
    ignored: hex(fields.get("ignored")),
    blocked: hex(fields.get("blocked")),
    descriptors: descriptors === undefined ? null : (descriptors.match(/\d+/g) ?? []).map(Number),
  };
}
