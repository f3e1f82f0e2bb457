// The steering table has a key for each address of the host, for each socket that packets are for,
// and for each port of connections; and for nothing else, but ports that are shared.

import {
  ADDRESS_BYTES,
  ADDRESSES_OFFSET,
  HostAddressView,
  INTERFACES_OFFSET,
  InterfaceView,
  MAX_ADDRESSES,
  MAX_INTERFACES,
  STEERING_OFFSET,
  STEERING_SHARED_OFFSET,
} from "../../build/gen/layout.ts";
import type { Fail, Inspected } from "./connection-checks.ts";
import { members } from "./region-checks.ts";
import { foldAddress, isConnected, isSteered } from "./table-checks.ts";

const PROTOCOL_TCP = 6;
const SHARED_PROTOCOLS = [1n, 2n];

interface Name {
  readonly hi: bigint;
  readonly lo: bigint;
  readonly portNet: number;
  readonly protocol: number;
  readonly interfacePlusOne: number;
}

/** As stack/link/steering.ts. */
function keyOf({ hi, lo, portNet, protocol, interfacePlusOne }: Name): bigint {
  const low = BigInt((portNet << 16) | (protocol << 8) | interfacePlusOne) & 0xffffffffn;
  return (BigInt(foldAddress(hi, lo)) << 32n) | low;
}

function interfacePlusOne({ view }: Inspected, ifindex: number): number {
  if (ifindex === 0) return 0;
  for (let slot = 0; slot < MAX_INTERFACES; slot++) {
    const one = new InterfaceView(view, INTERFACES_OFFSET + slot * InterfaceView.BYTES);
    if (one.ifindex === ifindex) return slot + 1;
  }
  return 255;
}

/** The keys that should be there, with what each is for. */
function wantedKeys(region: Inspected): Map<bigint, string> {
  const wanted = new Map<bigint, string>();
  const locals = new Set<bigint>([0n]);
  for (let slot = 0; slot < MAX_ADDRESSES; slot++) {
    const at = ADDRESSES_OFFSET + slot * ADDRESS_BYTES;
    const { hi, lo, references } = new HostAddressView(region.view, at);
    if (references === 0) continue;
    locals.add(lo);
    const key = keyOf({ hi, lo, portNet: 0, protocol: 0, interfacePlusOne: 0 });
    wanted.set(key, `address ${slot}`);
  }
  for (const member of members(region)) {
    const { localHi: hi, localLo: lo, localPortNet: portNet, protocol, ifindex } = member.socket;
    if (!locals.has(lo)) continue;
    const name = { hi, lo, portNet };
    const what = `socket ${member.index}`;
    if (isSteered(member)) {
      const at = interfacePlusOne(region, ifindex);
      wanted.set(keyOf({ ...name, protocol, interfacePlusOne: at }), what);
    }
    if (isConnected(member) && lo !== 0n) {
      wanted.set(keyOf({ ...name, protocol: PROTOCOL_TCP, interfacePlusOne: 0 }), what);
    }
  }
  return wanted;
}

export function checkSteering(region: Inspected, fail: Fail): void {
  const wanted = wantedKeys(region);
  const count = (STEERING_SHARED_OFFSET - STEERING_OFFSET) / 8;
  const keys = new BigUint64Array(region.view.buffer, STEERING_OFFSET, count);
  let shared = 0;
  for (const key of keys) {
    if (key === 0n) continue;
    if (SHARED_PROTOCOLS.includes((key >> 8n) & 0xffn)) shared++;
    else if (!wanted.delete(key)) fail(`key ${key.toString(16)} is there for nobody, or twice`);
  }
  for (const [key, what] of wanted) fail(`no key ${key.toString(16)} for ${what}`);
  const told = region.view.getUint32(STEERING_SHARED_OFFSET, true);
  if (shared !== told) fail(`${shared} ports are shared, ${told} are counted`);
}
