// Who may use a stack: root, and the members of the group "exasock" (DESIGN 4.11). exasockd checks
// again by itself; this is to say so before the program starts.

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

/** The number of the group "exasock" on this machine. */
export function groupNumber(): number | null {
  try {
    return findGroup(readFileSync("/etc/group", "utf8"), GROUP);
  } catch {
    return null;
  }
}

/** Is this process in the group "exasock"? */
export function isMember(): boolean {
  const number = groupNumber();
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
export function missingPermission(): string | null {
  if (process.geteuid?.() === 0 || isMember()) return null;
  const user = userName();
  const make = groupNumber() === null ? `groupadd ${GROUP}; ` : "";
  return (
    `${user} is neither root nor in the group ${GROUP} ` +
    `(as root: ${make}usermod -aG ${GROUP} ${user})`
  );
}
