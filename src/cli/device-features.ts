// What network devices can do, asked of the kernel by generic netlink: XDP features (family
// "netdev"), queues and offloads (family "ethtool"). Layouts: linux/genetlink.h, linux/netdev.h,
// linux/ethtool_netlink.h.

import {
  type Attributes,
  decodeAttributes,
  encodeAttribute,
  encodeMessage,
  encodeUint32,
  type NetlinkMessage,
  NLM_F_ACK,
  NLM_F_REQUEST,
  textOf,
  uint32Of,
} from "../daemon/netlink/message.ts";
import { NetlinkRequests } from "../daemon/netlink/socket.ts";

const NETLINK_GENERIC = 16;
const CONTROL_FAMILY = 16;
const GENERIC_HEADER_BYTES = 4;
const NESTED = 0x8000;

const CTRL_CMD_GETFAMILY = 3;
const CTRL_ATTR_FAMILY_ID = 1;
const CTRL_ATTR_FAMILY_NAME = 2;

const NETDEV_CMD_DEV_GET = 1;
const NETDEV_A_DEV_IFINDEX = 1;
const NETDEV_A_DEV_XDP_FEATURES = 3;

const ETHTOOL_A_HEADER = 1;
const ETHTOOL_A_HEADER_DEV_INDEX = 1;
const ETHTOOL_MSG_FEATURES_GET = 11;
const ETHTOOL_A_FEATURES_ACTIVE = 4;
const ETHTOOL_A_BITSET_BITS = 3;
const ETHTOOL_A_BITSET_BIT_NAME = 2;
const ETHTOOL_MSG_CHANNELS_GET = 17;
const ETHTOOL_A_CHANNELS_RX_COUNT = 6;
const ETHTOOL_A_CHANNELS_COMBINED_COUNT = 9;

/** Bits of NETDEV_A_DEV_XDP_FEATURES. */
export const XDP_BASIC = 1 << 0;
export const XDP_REDIRECT = 1 << 1;
export const XDP_ZERO_COPY = 1 << 3;

/** Each is undefined where the kernel or the driver does not tell. */
export interface DeviceFeatures {
  xdp: number | undefined;
  /** Receive queues in use. */
  rxQueues: number | undefined;
  /** Names of the offloads that are on, as `ethtool -k` has them. */
  offloads: ReadonlySet<string> | undefined;
}

function genericHeader(command: number): Buffer {
  return Buffer.of(command, 1, 0, 0);
}

/** The attributes of an answer. */
function answer(messages: readonly NetlinkMessage[]): Attributes {
  const payload = messages[0]?.payload ?? Buffer.alloc(0);
  return decodeAttributes(payload, GENERIC_HEADER_BYTES);
}

/** Attributes nested in one another may repeat: all values of one after the other. */
function* repeatedAttributes(buffer: Buffer): Generator<Buffer> {
  for (let at = 0; buffer.length - at >= 4; ) {
    const length = buffer.readUInt16LE(at);
    if (length < 4 || length > buffer.length - at) return;
    yield buffer.subarray(at + 4, at + length);
    at += (length + 3) & ~3;
  }
}

/** The names in a verbose bit set that lists the bits that are set. */
export function decodeBitNames(bitset: Buffer): Set<string> {
  const bits = decodeAttributes(bitset).get(ETHTOOL_A_BITSET_BITS) ?? Buffer.alloc(0);
  const names = new Set<string>();
  for (const bit of repeatedAttributes(bits)) {
    const name = textOf(decodeAttributes(bit), ETHTOOL_A_BITSET_BIT_NAME);
    if (name !== undefined) names.add(name);
  }
  return names;
}

/** Asks about devices of this network namespace. Needs no privileges. */
export class DeviceQueries {
  readonly #netlink = new NetlinkRequests(NETLINK_GENERIC);
  readonly #families = new Map<string, number | undefined>();

  /** undefined when the kernel refuses or does not know the question. */
  #ask(family: string, command: number, ...attributes: Buffer[]): Attributes | undefined {
    const number = this.#family(family);
    if (number === undefined) return undefined;
    return this.#request(number, command, attributes);
  }

  #request(family: number, command: number, attributes: Buffer[]): Attributes | undefined {
    const flags = NLM_F_REQUEST | NLM_F_ACK;
    try {
      return answer(
        this.#netlink.request("asking about a device", (sequence) =>
          encodeMessage(family, flags, sequence, genericHeader(command), ...attributes),
        ),
      );
    } catch {
      return undefined;
    }
  }

  #family(name: string): number | undefined {
    if (!this.#families.has(name)) {
      const attribute = encodeAttribute(CTRL_ATTR_FAMILY_NAME, Buffer.from(`${name}\0`));
      const reply = this.#request(CONTROL_FAMILY, CTRL_CMD_GETFAMILY, [attribute]);
      this.#families.set(name, reply?.get(CTRL_ATTR_FAMILY_ID)?.readUInt16LE(0));
    }
    return this.#families.get(name);
  }

  featuresOf(ifindex: number): DeviceFeatures {
    const netdev = this.#ask(
      "netdev",
      NETDEV_CMD_DEV_GET,
      encodeUint32(NETDEV_A_DEV_IFINDEX, ifindex),
    );
    const xdp = netdev?.get(NETDEV_A_DEV_XDP_FEATURES);
    const device = encodeUint32(ETHTOOL_A_HEADER_DEV_INDEX, ifindex);
    const header = encodeAttribute(ETHTOOL_A_HEADER | NESTED, device);
    const channels = this.#ask("ethtool", ETHTOOL_MSG_CHANNELS_GET, header);
    const features = this.#ask("ethtool", ETHTOOL_MSG_FEATURES_GET, header);
    const active = features?.get(ETHTOOL_A_FEATURES_ACTIVE);
    return {
      xdp: xdp && xdp.length >= 8 ? Number(xdp.readBigUInt64LE(0)) : undefined,
      rxQueues: channels && queueCount(channels),
      offloads: active && decodeBitNames(active),
    };
  }

  close(): void {
    this.#netlink.close();
  }
}

function queueCount(channels: Attributes): number {
  const combined = uint32Of(channels, ETHTOOL_A_CHANNELS_COMBINED_COUNT) ?? 0;
  return combined + (uint32Of(channels, ETHTOOL_A_CHANNELS_RX_COUNT) ?? 0);
}
