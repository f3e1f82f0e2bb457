// Who may ask what. The kernel vouches for the peer of a Unix socket.

import { groupOf, type TrustGroup } from "../cli/permission.ts";
import { native } from "./native.ts";
import type { Request } from "./requests.ts";

const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
const SO_PEERGROUPS = 59;
/** NGROUPS_MAX of Linux. */
const GROUPS_MAX = 65536;
const groupsBuffer = Buffer.alloc(GROUPS_MAX * 4);

/** Who connected, as of that moment. */
export interface Peer {
  /** In our pid namespace; 0 when it has no number there. */
  readonly pid: number;
  readonly uid: number;
  readonly groups: readonly number[];
}

/** The process at the other end of a Unix socket. */
export function peerOf(fd: number): Peer | undefined {
  const credentials = Buffer.alloc(12);
  if (native().getSocketOption(fd, SOL_SOCKET, SO_PEERCRED, credentials) < 0) return undefined;
  const length = native().getSocketOption(fd, SOL_SOCKET, SO_PEERGROUPS, groupsBuffer);
  const groups = [credentials.readUInt32LE(8)];
  for (let at = 0; at + 4 <= length; at += 4) groups.push(groupsBuffer.readUInt32LE(at));
  return { pid: credentials.readInt32LE(0), uid: credentials.readUInt32LE(4), groups };
}

/** Why this peer may not ask this, or undefined if it may. `group`: the stack's. */
export function refusal(type: Request["type"], peer: Peer, group: TrustGroup): string | undefined {
  // A program that comes back shows by its slot that it had the right.
  if (peer.uid === 0 || type === "status" || type === "rejoin") return undefined;
  if (type === "check" || type === "stop" || type === "up" || type === "down") {
    return "only root may do that";
  }
  if (group.number !== null && peer.groups.includes(group.number)) return undefined;
  return `only root and the group ${group.name} may use this stack`;
}

/** `refusal` with the group as it is now on this machine. */
export function refusalNow(type: Request["type"], peer: Peer, stack: string): string | undefined {
  return refusal(type, peer, groupOf(stack));
}
