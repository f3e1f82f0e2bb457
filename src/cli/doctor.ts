// What `exasockctl doctor` makes of a machine: findings, each with what to do. Pure.

import { chooseInterface, isVirtual } from "../daemon/interface-choice.ts";
import { ARPHRD_ETHER, IFF_LOOPBACK, IFF_UP } from "../daemon/netlink/route.ts";
import { largestMtu, POOL_BYTES_MAX_DEFAULT } from "../daemon/options.ts";
import { XDP_REDIRECT, XDP_ZERO_COPY } from "./device-features.ts";
import type { InterfaceFacts, Machine } from "./machine.ts";

export type Level = "ok" | "warn" | "fail";

export interface Finding {
  level: Level;
  /** What was looked at: "kernel", "interface eth0", … */
  subject: string;
  message: string;
  /** What to do; empty when there is nothing to do. */
  advice: string;
}

/** Before, the rings of a bound AF_XDP socket can't be mapped by another process (DESIGN 6). */
export const KERNEL_MIN = [6, 5] as const;
const NEEDED_CONFIG = ["CONFIG_BPF_SYSCALL", "CONFIG_XDP_SOCKETS", "CONFIG_INET_UDP_DIAG"];
/** Queues that the XDP program's socket map can name. */
const QUEUES_MAX = 64;
const FRAME_BYTES_MAX = 4096;
const MIB = 1 << 20;

/** Numbers of capability.h. */
const CAPABILITIES: Readonly<Record<string, number>> = {
  CAP_NET_ADMIN: 12,
  CAP_NET_RAW: 13,
  CAP_IPC_LOCK: 14,
  CAP_BPF: 39,
};

const ok = (subject: string, message: string): Finding => ({
  level: "ok",
  subject,
  message,
  advice: "",
});
const warn = (subject: string, message: string, advice: string): Finding => ({
  level: "warn",
  subject,
  message,
  advice,
});
const fail = (subject: string, message: string, advice: string): Finding => ({
  level: "fail",
  subject,
  message,
  advice,
});

function checkKernel({ kernelRelease }: Machine): Finding {
  const [major = 0, minor = 0] = kernelRelease.split(".").map((part) => Number.parseInt(part, 10));
  const isOld = major < KERNEL_MIN[0] || (major === KERNEL_MIN[0] && minor < KERNEL_MIN[1]);
  if (!isOld) return ok("kernel", `Linux ${kernelRelease}`);
  const needed = KERNEL_MIN.join(".");
  return fail(
    "kernel",
    `Linux ${kernelRelease} is older than ${needed}`,
    `install Linux ${needed} or later (Debian 12: linux-image-amd64 from backports)`,
  );
}

function checkConfig({ kernelConfig }: Machine): Finding {
  const subject = "kernel options";
  if (kernelConfig === null) {
    return ok(subject, "no configuration file found; what it would say is tried below");
  }
  const missing = NEEDED_CONFIG.filter((name) => !/^[ym]$/.test(kernelConfig.get(name) ?? "n"));
  if (missing.length === 0) return ok(subject, NEEDED_CONFIG.join(", "));
  const advice = "use a kernel that is built with them";
  return fail(subject, `${missing.join(", ")} not set`, advice);
}

function checkBtf({ hasBtf }: Machine): Finding {
  if (hasBtf) return ok("BTF", "/sys/kernel/btf/vmlinux");
  const message = "the kernel describes no types; exasock does without";
  return warn("BTF", message, "only needed by tools such as bpftrace: CONFIG_DEBUG_INFO_BTF");
}

function checkXdpSocket({ xdpSocket }: Machine): Finding {
  const subject = "AF_XDP sockets";
  if (xdpSocket === "") return ok(subject, "can be made");
  if (xdpSocket === "EPERM") {
    return warn(subject, "only privileged users can make them", "see privileges");
  }
  return fail(subject, `can't be made (${xdpSocket})`, "use a kernel with CONFIG_XDP_SOCKETS");
}

function checkBpf({ bpfMap, user }: Machine): Finding {
  if (bpfMap === "") return ok("BPF", "maps can be made");
  if (bpfMap === "EPERM" && user.uid !== 0) {
    return warn("BPF", "only privileged users can make maps", "see privileges");
  }
  const advice = "allow bpf(2): container seccomp profiles and kernel lockdown can forbid it";
  return fail("BPF", `maps can't be made (${bpfMap})`, advice);
}

/** Only exasockd needs privileges: programs get descriptors from it. */
function checkPrivileges({ user, daemon }: Machine): Finding {
  const subject = "privileges";
  const missing = Object.entries(CAPABILITIES)
    .filter(([, number]) => ((user.capabilities >> BigInt(number)) & 1n) === 0n)
    .map(([name]) => name);
  if (missing.length === 0) return ok(subject, `${user.name} can start exasockd`);
  if (daemon !== null) return ok(subject, "exasockd runs; programs need none of their own");
  const message = `${user.name} can't start exasockd: ${missing.join(", ")} missing`;
  if (user.uid !== 0) return warn(subject, message, "as root: exasockctl up");
  return fail(subject, message, "give the container these capabilities");
}

function checkGroup({ user, group: { name, exists } }: Machine): Finding {
  const subject = `group ${name}`;
  if (user.isMember) return ok(subject, `${user.name} is a member`);
  if (!exists) {
    const message = "does not exist: only root's programs are accelerated";
    const advice = `for other users, as root: groupadd ${name}; usermod -aG ${name} USER`;
    return user.uid === 0 ? ok(subject, message) : fail(subject, message, advice);
  }
  if (user.uid === 0) return ok(subject, "exists; root needs no membership");
  const advice = `as root: usermod -aG ${name} ${user.name}; then log in again`;
  return fail(subject, `${user.name} is not a member and may not use the stack`, advice);
}

function checkMemory({ lockedMemoryBytes, user }: Machine): Finding {
  const subject = "locked memory";
  const exempt = ((user.capabilities >> BigInt(CAPABILITIES.CAP_IPC_LOCK ?? 0)) & 1n) === 1n;
  if (exempt) return ok(subject, "not limited (CAP_IPC_LOCK)");
  const limit = `${Math.floor(lockedMemoryBytes / MIB)} MiB`;
  if (lockedMemoryBytes >= POOL_BYTES_MAX_DEFAULT) return ok(subject, `at most ${limit}`);
  const needed = `${POOL_BYTES_MAX_DEFAULT / MIB} MiB`;
  return warn(
    subject,
    `at most ${limit}; exasockd pins up to ${needed} of packet memory`,
    "start exasockd as root, or raise the limit (ulimit -l)",
  );
}

function checkProcessors({ processors }: Machine): Finding {
  if (processors > 1) return ok("processors", String(processors));
  const message = "one only: a program that spins keeps its peer from running";
  return warn("processors", message, "use --wait=sleep");
}

function checkLibrary({ library, daemon }: Machine): Finding {
  const subject = "library";
  if (!library.found) return fail(subject, `${library.path} is missing`, 'run "npm run build"');
  if (daemon && daemon.build !== library.build) {
    return fail(
      subject,
      `build ${library.build}, but exasockd runs build ${daemon.build}`,
      "end the programs that use it, then exasockctl stop: the next start takes the new build",
    );
  }
  return ok(subject, `build ${library.build}`);
}

function checkDaemon({ daemon, daemonProblem }: Machine): Finding {
  const subject = "exasockd";
  if (daemonProblem !== "") return fail(subject, daemonProblem, "exasockctl stop, or kill it");
  if (daemon === null) return ok(subject, "not running; exasock starts it when needed");
  return ok(subject, `running (pid ${daemon.pid})`);
}

function checkRegion({ breaches }: Machine): Finding {
  const subject = "region";
  if (breaches === null) return ok(subject, "not looked at");
  const [first, ...others] = breaches;
  if (first === undefined) return ok(subject, "every list and count in it is right");
  const more = others.length === 0 ? "" : ` (and ${others.length} more)`;
  const advice = "please report this; exasockctl stop and a new start mend it";
  return fail(subject, `${first}${more}`, advice);
}

function receiveMode({ features, link, driver }: InterfaceFacts): string {
  const native = features.xdp !== undefined && (features.xdp & XDP_REDIRECT) !== 0;
  const zeroCopy = features.xdp !== undefined && (features.xdp & XDP_ZERO_COPY) !== 0;
  const count = features.rxQueues;
  const queues = count === undefined ? "" : `, ${count} queue${count === 1 ? "" : "s"}`;
  const xdp = native ? `native XDP${zeroCopy ? ", zero-copy" : ""}` : "generic XDP";
  return `${driver || link.kind || "unknown driver"}: ${xdp}${queues}, MTU ${link.mtu}`;
}

/** Hints for an interface that the stack can use. */
function interfaceHints(facts: InterfaceFacts): Finding[] {
  const { link, features, vlans, driver } = facts;
  const subject = `interface ${link.name}`;
  const findings: Finding[] = [];
  const known = features.xdp !== undefined;
  if (known && ((features.xdp ?? 0) & XDP_REDIRECT) === 0) {
    const advice = "slower, but works; for native XDP use a NIC whose driver has it";
    findings.push(warn(subject, "its driver has no native XDP", advice));
  }
  if ((features.rxQueues ?? 1) > QUEUES_MAX) {
    const message = `${features.rxQueues} receive queues, of which ${QUEUES_MAX} can be used`;
    findings.push(warn(subject, message, `ethtool -L ${link.name} combined ${QUEUES_MAX}`));
  }
  const merging = ["rx-lro", "rx-gro-hw"];
  const active = merging.filter((name) => features.offloads?.has(name));
  if (active.length > 0 && !isVirtual(link, driver)) {
    const message = `${active.join(", ")} is on: several packets arrive as one`;
    findings.push(warn(subject, message, `ethtool -K ${link.name} lro off rx-gro-hw off`));
  }
  if (vlans.length > 0 && features.offloads?.has("rx-vlan-hw-parse")) {
    const message = `VLANs on it (${vlans.join(", ")}), and the NIC removes their tags`;
    const advice =
      `ethtool -K ${link.name} rxvlan off: else packets of a VLAN can be taken for ` +
      "packets of the interface itself";
    findings.push(warn(subject, message, advice));
  }
  return findings;
}

function checkInterface(facts: InterfaceFacts, daemon: Machine["daemon"]): Finding[] {
  const { link, hasIpv4, master } = facts;
  const subject = `interface ${link.name}`;
  const failure = daemon?.unusable.find(({ name }) => name === link.name);
  if (failure) return [fail(subject, failure.reason, "mend it, then exasockctl up")];
  const used = daemon?.interfaces.find(({ name }) => name === link.name);
  if (used) {
    const mode = `${used.mode} XDP, ${used.zeroCopy ? "zero-copy" : "copy"} mode`;
    const findings = [ok(subject, `in use: ${mode}, MTU ${link.mtu}`), ...interfaceHints(facts)];
    if (used.nativeProblem === "") return findings;
    const message = `no native XDP: ${used.nativeProblem}`;
    return [...findings, warn(subject, message, "slower, but works")];
  }
  const choice = chooseInterface(link, {
    named: false,
    hasAddress: hasIpv4,
    largestMtu: largestMtu(FRAME_BYTES_MAX),
  });
  if (choice.usable) return [ok(subject, receiveMode(facts)), ...interfaceHints(facts)];
  if (link.hardwareType !== ARPHRD_ETHER || (link.flags & IFF_UP) === 0) {
    return [ok(subject, `not used: ${choice.reason}`)];
  }
  const advice: Record<string, string> = {
    bond: "its sockets stay on the kernel's stack; a NIC with an address of its own is used",
    bridge: "its sockets stay on the kernel's stack",
    vlan: "its sockets stay on the kernel's stack",
  };
  if (link.mtu > largestMtu(FRAME_BYTES_MAX)) {
    const mtu = largestMtu(FRAME_BYTES_MAX);
    return [warn(subject, `not used: ${choice.reason}`, `ip link set ${link.name} mtu ${mtu}`)];
  }
  if (master !== null) {
    const message = `not used: belongs to ${master}`;
    return [warn(subject, message, `give it an address of its own outside of ${master}`)];
  }
  const help = advice[link.kind];
  if (help) return [warn(subject, `not used: ${choice.reason}`, help)];
  return [ok(subject, `not used: ${choice.reason}`)];
}

function checkInterfaces({ interfaces, daemon }: Machine): Finding[] {
  const own = interfaces.filter(({ link }) => (link.flags & IFF_LOOPBACK) === 0);
  const findings = own.flatMap((facts) => checkInterface(facts, daemon));
  const usable = findings.some(({ level, message }) => level === "ok" && /XDP/.test(message));
  if (usable) return findings;
  const message = "none that the stack can use";
  const advice = "an Ethernet interface must be up and have an IPv4 address";
  return [...findings, fail("interfaces", message, advice)];
}

/** All findings about a machine, the general ones first. */
export function examine(machine: Machine): Finding[] {
  const checks = [
    checkKernel,
    checkConfig,
    checkBtf,
    checkXdpSocket,
    checkBpf,
    checkPrivileges,
    checkGroup,
    checkMemory,
    checkProcessors,
    checkLibrary,
    checkDaemon,
    checkRegion,
  ];
  return [...checks.map((check) => check(machine)), ...checkInterfaces(machine)];
}
