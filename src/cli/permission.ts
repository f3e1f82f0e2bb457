// Who may use a stack: root, and the members of the group "exasock" (DESIGN 4.11). exasockd checks
// again by itself; this is to say so before the program starts.

import { readFileSync } from "node:fs";
import { userInfo } from "node:os";

export const GROUP = "exasock";

/** The number of the group in /etc/group; null when there is none of that name. */
export function groupNumber(groups: string): number | null {
  for (const line of groups.split("\n")) {
    const [name, , number] = line.split(":");
    if (name === GROUP && number) return Number(number);
  }
  return null;
}

function readGroups(): string {
  try {
    return readFileSync("/etc/group", "utf8");
  } catch {
    return "";
  }
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return `uid ${process.geteuid?.()}`;
  }
}

/** What this process lacks to use a stack, as the end of a sentence; null when it may. */
export function missingPermission(): string | null {
  if (process.geteuid?.() === 0) return null;
  const number = groupNumber(readGroups());
  if (number !== null && [process.getegid?.(), ...(process.getgroups?.() ?? [])].includes(number)) {
    return null;
  }
  const user = userName();
  const make = number === null ? `groupadd ${GROUP}; ` : "";
  return (
    `${user} is neither root nor in the group ${GROUP} ` +
    `(as root: ${make}usermod -aG ${GROUP} ${user})`
  );
}
