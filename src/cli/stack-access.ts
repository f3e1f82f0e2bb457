// May this process use the stack, and does the stack serve what it wants? exasockd is started on
// the way. All answers are for one line after "not accelerated:".

import type { Status } from "../daemon/status.ts";
import { ask, askStatus } from "./control-client.ts";
import { AppError } from "./errors.ts";
import { native } from "./native.ts";
import { missingPermission } from "./permission.ts";
import type { Obstacle } from "./program.ts";
import { type Environment, parseInterface, STACK_DEFAULT } from "./settings.ts";

const isRoot = () => process.geteuid?.() === 0;

/** Throws "daemon". */
async function statusOf(
  stack: string,
  interfaces: string[],
  environment: Environment,
): Promise<Status> {
  const status = askStatus(stack);
  if (status !== null) return status;
  if (!isRoot()) {
    const message =
      "exasockd does not run here, and only root can start it (as root: exasockctl up)";
    throw new AppError("daemon", message);
  }
  const { startIfAbsent } = await import("./daemon-start.ts");
  return startIfAbsent({ stack, interfaces }, environment);
}

/** Has the stack use these interfaces too; why it does not, or null. */
function bringUp(status: Status, stack: string, interfaces: string[]): string | null {
  const isUsed = (text: string) =>
    status.interfaces.some((one) => one.name === parseInterface(text)?.name);
  const missing = interfaces.filter((text) => !isUsed(text));
  if (missing.length === 0) return null;
  const failed = status.unusable.find(({ name }) => missing.includes(name));
  if (failed) return `${failed.name}: ${failed.reason}`;
  if (!isRoot()) {
    return `the stack does not use ${missing.join(", ")} (as root: exasockctl up ${missing.join(" ")})`;
  }
  const reply = ask(stack, { type: "up", interfaces: missing });
  if (reply === null) return "exasockd has just stopped";
  return reply.ok ? null : (reply.error ?? "refused");
}

/** Why the program that this process becomes can't use its stack; null when it can. */
export async function obstacleToStack(environment: Environment): Promise<Obstacle | null> {
  const stack = environment.get("EXASOCK_STACK") ?? STACK_DEFAULT;
  const missing = missingPermission(stack);
  if (missing !== null) return { reason: missing, preload: false };
  const interfaces = environment.get("EXASOCK_INTERFACES")?.split(",") ?? [];
  try {
    const status = await statusOf(stack, interfaces, environment);
    const build = native().coreBuild();
    if (status.build !== build) {
      const hint = "when its programs have ended, as root: exasockctl stop";
      const reason = `exasockd is of build ${status.build}, this is build ${build} (${hint})`;
      return { reason, preload: false };
    }
    const refused = bringUp(status, stack, interfaces);
    if (refused !== null) return { reason: refused, preload: true };
    if (interfaces.length === 0 && status.interfaces.length === 0) {
      // It may come up while the program runs.
      const reason = "the stack uses no interface yet (exasockctl doctor says why)";
      return { reason, preload: true };
    }
    return null;
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    return { reason: error.message, preload: false };
  }
}
