// What `exasockctl doctor` looks at: facts about this machine and this process, no judgement.

import { accessSync, constants, existsSync, readdirSync, readFileSync } from "node:fs";
import { availableParallelism, release } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { driverOf } from "../daemon/interfaces.ts";
import { native as daemonNative } from "../daemon/native.ts";
import { decodeAttributes, type NetlinkMessage } from "../daemon/netlink/message.ts";
import {
  decodeAddress,
  decodeLink,
  encodeDump,
  type Link,
  RTM_GETADDR,
  RTM_GETLINK,
} from "../daemon/netlink/route.ts";
import { NETLINK_ROUTE, NetlinkRequests } from "../daemon/netlink/socket.ts";
import type { Status } from "../daemon/status.ts";
import { ask, askStatus } from "./control-client.ts";
import { type DeviceFeatures, DeviceQueries } from "./device-features.ts";
import { errno } from "./errno.ts";
import { BUILD_FOLDER } from "./native.ts";
import { groupOf, isMember, userName } from "./permission.ts";

const AF_XDP = 44;
const SOCK_RAW = 3;
const IFINFO_BYTES = 16;
const IFLA_LINK = 5;
const IFLA_XDP = 43;
const IFLA_XDP_PROGRAM = 4;

export interface InterfaceFacts {
  link: Link;
  /** The driver's name; empty when unknown. */
  driver: string;
  hasIpv4: boolean;
  /** Name of the bridge or bond it belongs to, or null. */
  master: string | null;
  /** Names of the VLAN interfaces on top of it. */
  vlans: string[];
  /** Some XDP program is attached, ours or another's. */
  hasXdpProgram: boolean;
  features: DeviceFeatures;
}

export interface Machine {
  kernelRelease: string;
  /** CONFIG_… to "y", "m" or a value; null when the kernel's configuration is not to be found. */
  kernelConfig: ReadonlyMap<string, string> | null;
  hasBtf: boolean;
  /** Errno name of a try, "" for success. */
  xdpSocket: string;
  bpfMap: string;
  user: { name: string; uid: number; capabilities: bigint; isMember: boolean };
  /** Whom the stack is for. */
  group: { name: string; exists: boolean };
  /** Soft limit in bytes, Infinity for none. */
  lockedMemoryBytes: number;
  processors: number;
  interfaces: InterfaceFacts[];
  library: { path: string; found: boolean; build: string };
  daemon: Status | null;
  /** Why exasockd could not be asked; "" when it could or when none runs. */
  daemonProblem: string;
  /** What is wrong with the region; null when that was not looked at. */
  breaches: readonly string[] | null;
}

function readText(path: string): string | null {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return null;
  }
}

/** The `CONFIG_X=value` lines of a kernel configuration. */
export function parseKernelConfig(text: string): Map<string, string> {
  return new Map(
    Array.from(text.matchAll(/^(CONFIG_\w+)=(.*)$/gm), ([, name, value]) => [
      name as string,
      value as string,
    ]),
  );
}

function readKernelConfig(): Map<string, string> | null {
  try {
    return parseKernelConfig(gunzipSync(readFileSync("/proc/config.gz")).toString());
  } catch {
    const text = readText(`/boot/config-${release()}`);
    return text === null ? null : parseKernelConfig(text);
  }
}

/** A descriptor or -errno, closed again; the errno's name. */
function tried(result: number): string {
  if (result < 0) return errno.name(-result);
  daemonNative().close(result);
  return "";
}

function lockedMemoryLimit(): number {
  const line = /^Max locked memory +(\S+)/m.exec(readText("/proc/self/limits") ?? "");
  return line?.[1] === undefined || line[1] === "unlimited"
    ? Number.POSITIVE_INFINITY
    : Number(line[1]);
}

function capabilities(): bigint {
  const line = /^CapEff:\s*([0-9a-f]+)/m.exec(readText("/proc/self/status") ?? "");
  return BigInt(`0x${line?.[1] ?? "0"}`);
}

/** Receive queues as sysfs lists them, for drivers that do not tell ethtool. */
function sysfsQueues(name: string): number | undefined {
  try {
    const queues = readdirSync(`/sys/class/net/${name}/queues`);
    return queues.filter((queue) => queue.startsWith("rx-")).length;
  } catch {
    return undefined;
  }
}

interface LinkMessage {
  link: Link;
  /** Index of the interface that this one is made on, 0 for none. */
  lower: number;
  hasXdpProgram: boolean;
}

function decodeLinkMessage(message: NetlinkMessage): LinkMessage[] {
  const link = decodeLink(message);
  if (link === undefined) return [];
  const attributes = decodeAttributes(message.payload, IFINFO_BYTES);
  const xdp = attributes.get(IFLA_XDP);
  const program = xdp && decodeAttributes(xdp).get(IFLA_XDP_PROGRAM);
  const lower = attributes.get(IFLA_LINK)?.readUInt32LE(0) ?? 0;
  return [{ link, lower, hasXdpProgram: program !== undefined }];
}

function readInterfaces(): InterfaceFacts[] {
  const netlink = new NetlinkRequests(NETLINK_ROUTE);
  const queries = new DeviceQueries();
  try {
    const messages = netlink.dump("listing interfaces", (n) => encodeDump(RTM_GETLINK, n));
    const links = messages.flatMap(decodeLinkMessage);
    const addresses = netlink.dump("listing addresses", (n) => encodeDump(RTM_GETADDR, n));
    const withIpv4 = new Set(addresses.map((message) => decodeAddress(message)?.ifindex));
    const nameOf = (index: number) => links.find(({ link }) => link.ifindex === index)?.link.name;
    return links.map(({ link, hasXdpProgram }) => {
      const features = queries.featuresOf(link.ifindex);
      const vlans = links.filter((one) => one.link.kind === "vlan" && one.lower === link.ifindex);
      return {
        link,
        driver: driverOf(link),
        hasIpv4: withIpv4.has(link.ifindex),
        master: link.master === 0 ? null : (nameOf(link.master) ?? `#${link.master}`),
        vlans: vlans.map((one) => one.link.name),
        hasXdpProgram,
        features: { ...features, rxQueues: features.rxQueues ?? sysfsQueues(link.name) },
      };
    });
  } finally {
    queries.close();
    netlink.close();
  }
}

function isReadable(path: string): boolean {
  try {
    accessSync(path, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}

function askDaemon(stack: string): Pick<Machine, "daemon" | "daemonProblem" | "breaches"> {
  try {
    const daemon = askStatus(stack);
    // Only root may have everybody wait.
    const reply = process.geteuid?.() === 0 ? ask(stack, { type: "check" }) : null;
    const { breaches = null } = (reply ?? {}) as { breaches?: string[] };
    return { daemon, daemonProblem: "", breaches };
  } catch (error) {
    return { daemon: null, daemonProblem: (error as Error).message, breaches: null };
  }
}

export function readMachine(stack: string): Machine {
  const library = join(BUILD_FOLDER, "libexasock.so");
  const uid = process.geteuid?.() ?? 0;
  const group = groupOf(stack);
  return {
    kernelRelease: release(),
    kernelConfig: readKernelConfig(),
    hasBtf: existsSync("/sys/kernel/btf/vmlinux"),
    xdpSocket: tried(daemonNative().socket(AF_XDP, SOCK_RAW, 0)),
    bpfMap: tried(daemonNative().bpfMapCreate("exasock_doctor", 8, 1)),
    user: { name: userName(), uid, capabilities: capabilities(), isMember: isMember(stack) },
    group: { name: group.name, exists: group.number !== null },
    lockedMemoryBytes: lockedMemoryLimit(),
    processors: availableParallelism(),
    interfaces: readInterfaces(),
    library: { path: library, found: isReadable(library), build: daemonNative().coreBuild() },
    ...askDaemon(stack),
  };
}
