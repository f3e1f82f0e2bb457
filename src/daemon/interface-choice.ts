// Which interfaces the stack may use, and what it has to know about them. Pure.

import { ARPHRD_ETHER, IFF_UP, type Link } from "./netlink/route.ts";

/** Kinds whose packets may come from this machine with unfinished checksums. */
const VIRTUAL_KINDS = new Set(["veth", "tun", "macvlan", "macvtap", "ipvlan", "bridge", "netkit"]);
/** Drivers of hypervisors that hand on such packets. */
const VIRTUAL_DRIVERS = new Set(["virtio_net", "vif", "hv_netvsc"]);
/** Kinds taken without being named; hardware has none. */
const AUTOMATIC_KINDS = new Set(["", "veth", "tun"]);

const MAC_BYTES = 6;

export interface Choice {
  readonly usable: boolean;
  /** Why not, for people. */
  readonly reason: string;
  /** Nothing but this reason is in the way: whoever expects it to be used has to know. */
  readonly remarkable: boolean;
}

const usable: Choice = { usable: true, reason: "", remarkable: false };
const no = (reason: string): Choice => ({ usable: false, reason, remarkable: false });

/** True if transport checksums on the interface can't be expected to be complete. */
export function isVirtual(link: Link, driver: string): boolean {
  return VIRTUAL_KINDS.has(link.kind) || VIRTUAL_DRIVERS.has(driver);
}

/**
 * May the stack use this link? A named one may be of any Ethernet kind; of the others those are
 * taken that carry a host's traffic: hardware, veth and tap, up, with an address, not enslaved.
 */
export function chooseInterface(
  link: Link,
  options: { named: boolean; hasAddress: boolean; largestMtu: number },
): Choice {
  if (link.hardwareType !== ARPHRD_ETHER || link.mac.length !== MAC_BYTES) {
    return no("not an Ethernet interface");
  }
  const fits = link.mtu <= options.largestMtu;
  const reason = `MTU ${link.mtu} is larger than a frame holds (at most ${options.largestMtu})`;
  const fitting: Choice = fits ? usable : { usable: false, reason, remarkable: true };
  if (options.named) return fitting;
  if ((link.flags & IFF_UP) === 0) return no("down");
  if (link.master !== 0) return no("belongs to a bridge, bond or VRF");
  if (!AUTOMATIC_KINDS.has(link.kind)) return no(`of kind ${link.kind}: used only when named`);
  if (!options.hasAddress) return no("has no IPv4 address");
  return fitting;
}
