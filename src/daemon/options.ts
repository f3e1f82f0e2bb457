// The daemon's settings: sizes that fit one another.

import { Option } from "commander";
import { isStackName, parseInterface, STACK_DEFAULT } from "../cli/settings.ts";

const MIB = 1 << 20;
export const REGION_BYTES_DEFAULT = 256 * MIB;
export const REGION_BYTES_MAX = 4096 * MIB;
export const POOL_BYTES_MAX_DEFAULT = 64 * MIB;
/** Pool per queue when none is asked for: what it keeps posted, its transmit ring, and as much unread. */
const POOL_BYTES_PER_QUEUE = 8 * MIB;
const POOL_BYTES_SHARED = 8 * MIB;
const POOL_BYTES_MIN = MIB;
export const IDLE_SECONDS_DEFAULT = 60;

const SMALL_FRAME_BYTES = 2048;
const LARGE_FRAME_BYTES = 4096;
const SMALL_FRAME_MTU = 1500;
const ETHERNET_HEADER_BYTES = 14;
/** XDP_PACKET_HEADROOM: what the kernel keeps free in front of a received frame. */
const XDP_HEADROOM_BYTES = 256;

export interface DaemonOptions {
  readonly stack: string;
  /** Interface names, maybe with queues (`eth0:2-3`); empty for all that suit. */
  readonly interfaces: readonly string[];
  readonly regionBytes: number;
  /** 0: chosen by the number of queues. */
  readonly framePoolBytes: number;
  /** Stop after this long without a program; 0 never. */
  readonly idleSeconds: number;
  readonly logLevel: string;
}

/** Bytes from "64M", "1G", "65536" or "512K"; undefined when it is no size. */
export function parseSize(text: string): number | undefined {
  const match = /^(\d{1,12})([KMG]?)$/i.exec(text);
  if (match === null) return undefined;
  const unit = { "": 1, K: 1024, M: MIB, G: 1024 * MIB }[(match[2] ?? "").toUpperCase()] ?? 1;
  return Number(match[1]) * unit;
}

/** What is wrong with the options, or undefined. */
export function checkOptions(options: DaemonOptions): string | undefined {
  if (!isStackName(options.stack)) return `"${options.stack}" is not a stack's name`;
  const bad = options.interfaces.find((text) => parseInterface(text) === undefined);
  if (bad !== undefined) return `"${bad}" is not an interface (examples: eth0, eth0:2-3)`;
  if (options.regionBytes > REGION_BYTES_MAX) return "--region-bytes must be at most 4G";
  if (options.framePoolBytes !== 0 && options.framePoolBytes < POOL_BYTES_MIN) {
    return "--frame-pool-bytes must be at least 1M";
  }
  if (options.framePoolBytes >= options.regionBytes) {
    return "--frame-pool-bytes must be smaller than --region-bytes";
  }
  if (!(options.idleSeconds >= 0)) return "--idle-seconds must be a number >= 0";
  return undefined;
}

export interface PoolSize {
  readonly frameBytes: number;
  readonly frameCount: number;
}

/**
 * Frames of the pool. The kernel pins all of it, so it follows what the queues need: each keeps
 * frames posted, and programs hold others until they have read them.
 */
export function sizePool(poolBytes: number, mtus: readonly number[], queueCount: number): PoolSize {
  const frameBytes = mtus.some((mtu) => mtu > SMALL_FRAME_MTU)
    ? LARGE_FRAME_BYTES
    : SMALL_FRAME_BYTES;
  const scale = frameBytes / SMALL_FRAME_BYTES;
  const wanted = (POOL_BYTES_SHARED + POOL_BYTES_PER_QUEUE * Math.max(queueCount, 1)) * scale;
  const bytes = poolBytes || Math.min(wanted, POOL_BYTES_MAX_DEFAULT);
  return { frameBytes, frameCount: Math.floor(bytes / frameBytes) };
}

/** Largest MTU whose frames fit, in bytes of IP packet. */
export function largestMtu(frameBytes: number): number {
  return frameBytes - XDP_HEADROOM_BYTES - ETHERNET_HEADER_BYTES;
}

const size = (text: string): number => {
  const bytes = parseSize(text);
  if (bytes === undefined) throw new Error(`"${text}" is not a size (examples: 65536, 512K, 64M)`);
  return bytes;
};

/** The command line's options. */
export function commandLineOptions(): Option[] {
  return [
    new Option("--stack <name>", "name of the stack").default(STACK_DEFAULT),
    new Option(
      "--interfaces <a,b:0-1>",
      "interfaces, or queues of them, to use; all Ethernet ones with an address if absent",
    )
      .default([] as string[], "all")
      .argParser((text) => text.split(",").filter((name) => name !== "")),
    new Option("--region-bytes <size>", "shared memory, touched only as used")
      .default(REGION_BYTES_DEFAULT, "256M")
      .argParser(size),
    new Option("--frame-pool-bytes <size>", "packet memory, pinned; follows the queues if absent")
      .default(0, "16M to 64M")
      .argParser(size),
    new Option("--idle-seconds <n>", "stop after this long without a program; 0 never")
      .default(IDLE_SECONDS_DEFAULT)
      .argParser(Number),
    new Option("--log-level <level>", "debug, info, warn, error or silent").default("info"),
  ];
}
