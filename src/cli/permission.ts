// Who may use a stack: root, and the members of its group. exasockd checks again by itself; this is
// to say so before the program starts.

import { readFileSync } from "node:fs";
import { userInfo } from "node:os";

export const GROUP = "exasock";

/** The number of a group in the text of /etc/group; null when there is none of that name. */
export function findGroup(groups: string, wanted: string): number | null {
  for (const line of groups.split("\n")) {
    const [name, , number] = line.split(":");
    if (name === wanted && number) return Number(number);
  }
  return null;
}

/** Whom, besides root, a stack is for. */
export interface TrustGroup {
  readonly name: string;
  /** Null when this machine has no such group. */
  readonly number: number | null;
}

/** A stack's own group where there is one (`exasock-risk` for the stack "risk"), else "exasock". */
export function groupOf(stack: string): TrustGroup {
  let groups = "";
  try {
    groups = readFileSync("/etc/group", "utf8");
  } catch {
    // Then there is none.
  }
  const own = `${GROUP}-${stack}`;
  const number = findGroup(groups, own);
  return number === null
    ? { name: GROUP, number: findGroup(groups, GROUP) }
    : { name: own, number };
}

/** Is this process in the stack's group? */
export function isMember(stack: string): boolean {
  const { number } = groupOf(stack);
  return (
    number !== null && [process.getegid?.(), ...(process.getgroups?.() ?? [])].includes(number)
  );
}

export function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return `uid ${process.geteuid?.()}`;
  }
}

/** What this process lacks to use a stack, as the end of a sentence; null when it may. */
export function missingPermission(stack: string): string | null {
  if (process.geteuid?.() === 0 || isMember(stack)) return null;
  const user = userName();
  const { name, number } = groupOf(stack);
  const make = number === null ? `groupadd ${name}; ` : "";
  return (
    `${user} is neither root nor in the group ${name} ` +
    `(as root: ${make}usermod -aG ${name} ${user})`
  );
}
