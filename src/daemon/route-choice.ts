// From the kernel's answer about a destination to what the stack may do with it. Pure.

import { isUnicastIpv4 } from "./address.ts";
import { NUD_VALID, type Neighbor, type Route, RTN_UNICAST } from "./netlink/route.ts";

/** What the decision depends on besides the route. */
export interface RouteContext {
  /** Slot in the region of an interface that the stack uses and that is up. */
  slotOf(ifindex: number): number | undefined;
  isLocal(address: Buffer): boolean;
}

export type RouteChoice =
  | { readonly accept: false; readonly reason: string }
  | {
      readonly accept: true;
      readonly slot: number;
      readonly ifindex: number;
      readonly source: Buffer;
      readonly nextHop: Buffer;
      /** Bytes of IP packet; the stack bounds it by the interface's MTU. */
      readonly mtu: number;
    };

/** "As large as the interface allows". */
const MTU_UNKNOWN = 0xffffffff;

const reject = (reason: string): RouteChoice => ({ accept: false, reason });

/**
 * The stack serves unicast destinations that leave by one of its interfaces with one of the host's
 * own source addresses; everything else is the kernel's.
 */
export function chooseRoute(
  destination: Buffer,
  wantedSource: Buffer | undefined,
  route: Route | undefined,
  context: RouteContext,
): RouteChoice {
  if (!isUnicastIpv4(destination)) return reject("not a unicast address");
  if (route === undefined) return reject("no route");
  if (route.type !== RTN_UNICAST) return reject("the route is not unicast");
  if (route.viaOtherFamily) return reject("the next hop is not an IPv4 address");
  if (context.isLocal(destination)) return reject("an address of this host");
  const slot = context.slotOf(route.ifindex);
  if (slot === undefined) return reject("leaves by another interface");
  const source = wantedSource ?? route.source;
  if (source === undefined || !context.isLocal(source)) return reject("no source address");
  const nextHop = route.gateway ?? destination;
  const mtu = route.mtu || MTU_UNKNOWN;
  return { accept: true, slot, ifindex: route.ifindex, source, nextHop, mtu };
}

/** True if frames can be sent to this neighbour now. */
export function isUsableNeighbor(neighbor: Neighbor): neighbor is Neighbor & { mac: Buffer } {
  return (neighbor.state & NUD_VALID) !== 0 && neighbor.mac !== undefined;
}
