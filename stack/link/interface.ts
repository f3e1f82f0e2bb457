import { MAX_INTERFACES } from "../config";
import { INTERFACE_BYTES } from "../layout";
import { RegionHeader } from "../region/header";

export const enum InterfaceFlag {
  Up = 1,
  /** veth or tap: the sender's kernel leaves transport checksums unfinished. */
  Virtual = 2,
}

/** A network interface whose queues the stack drives. exasockd writes all but the counters. */
@final
@unmanaged
export class Interface {
  rxDrops: u64;
  /** Hardware address: its six bytes, little-endian, in the upper 48 bits. */
  mac: u64;
  /** Kernel's index; 0 marks a free slot. */
  ifindex: u32;
  /** Largest IP packet in bytes. */
  mtu: u32;
  /** InterfaceFlag bits. */
  flags: u32;
  /** First queue, slot + 1; the others follow by nextQueue. */
  firstQueue: u32;
  queueCount: u32;
  reserved: u32;

  static at(slot: u32): Interface {
    return changetype<Interface>(
      <usize>(RegionHeader.get().interfacesOffset + slot * INTERFACE_BYTES),
    );
  }
}

/** A hardware address given as its first four bytes, little-endian, and its last two. */
export function packMac(macLow: u32, macHigh: u32): u64 {
  return <u64>macLow | ((<u64>(macHigh & 0xffff)) << 32);
}

/** Slot of a new interface, or -1 when MAX_INTERFACES are in use. */
export function addInterface(ifindex: u32, mtu: u32, macLow: u32, macHigh: u32, flags: u32): i32 {
  for (let slot: u32 = 0; slot < MAX_INTERFACES; slot++) {
    const entry = Interface.at(slot);
    if (entry.ifindex != 0) continue;
    memory.fill(changetype<usize>(entry), 0, <usize>INTERFACE_BYTES);
    entry.ifindex = ifindex;
    updateInterface(slot, mtu, macLow, macHigh, flags);
    return <i32>slot;
  }
  return -1;
}

export function updateInterface(slot: u32, mtu: u32, macLow: u32, macHigh: u32, flags: u32): void {
  if (slot >= MAX_INTERFACES) return;
  const entry = Interface.at(slot);
  entry.mtu = mtu;
  entry.mac = packMac(macLow, macHigh) << 16;
  entry.flags = flags;
}

export function removeInterface(slot: u32): void {
  if (slot >= MAX_INTERFACES) return;
  memory.fill(changetype<usize>(Interface.at(slot)), 0, <usize>INTERFACE_BYTES);
  RegionHeader.get().routeEpoch += 1;
}

/** Slot of the interface with this kernel index, or -1. */
export function findInterface(ifindex: u32): i32 {
  for (let slot: u32 = 0; slot < MAX_INTERFACES; slot++) {
    if (Interface.at(slot).ifindex == ifindex && ifindex != 0) return <i32>slot;
  }
  return -1;
}

export function checkInterfaceLayout(): void {
  if (offsetof<Interface>() > INTERFACE_BYTES) ERROR("Interface is larger than its slot");
}
