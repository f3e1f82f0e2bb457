// `exasockctl status` for people: what is in use, who uses it, what was lost.

import type { InterfaceStatus, SocketStatus, Status } from "../daemon/status.ts";
import { formatTable, paint, type Style } from "./output.ts";

const MIB = 1 << 20;
const PROTOCOL_NAMES: Readonly<Record<number, string>> = { 6: "tcp", 17: "udp" };
/** Counters of the stack that say that a packet or datagram was lost or refused. */
const LOSS = /^(rxDrop|txDrop|txNoFrames|txRingFull|txBufferFull|steeringFull|recover)/;

/** "3 days 4 h", "5 min 12 s": the two largest units. */
export function formatDuration(seconds: number): string {
  const units = [
    [86400, "d"],
    [3600, "h"],
    [60, "min"],
    [1, "s"],
  ] as const;
  const first = units.findIndex(([size]) => seconds >= size);
  let rest = Math.floor(seconds);
  const parts = units.slice(first < 0 ? units.length - 1 : first).map(([size, name]) => {
    const count = Math.floor(rest / size);
    rest -= count * size;
    return `${count} ${name}`;
  });
  return parts.slice(0, 2).join(" ");
}

/** "rxDropUdpChecksum" as "rx drop udp checksum". */
export function wordsOf(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
}

/** The drops are those of the kernel's rings; what the stack had no use for is listed by reason. */
function interfaceRow(one: InterfaceStatus): string[] {
  const sum = (pick: (queue: InterfaceStatus["queues"][number]) => number) =>
    one.queues.reduce((total, queue) => total + pick(queue), 0);
  const lost = sum(
    ({ kernel }) => kernel.rxDropped + kernel.rxRingFull + kernel.rxInvalidDescriptors,
  );
  return [
    one.name,
    one.up ? "up" : "down",
    `${one.mode} XDP`,
    one.zeroCopy ? "zero-copy" : "copy",
    String(one.queues.length),
    String(one.mtu),
    String(one.counters.rxFrames ?? 0),
    String(one.counters.txFrames ?? 0),
    String(lost),
  ];
}

function socketRow(one: SocketStatus, commands: ReadonlyMap<number, string>): string[] {
  return [
    PROTOCOL_NAMES[one.protocol] ?? String(one.protocol),
    one.state,
    one.local,
    one.remote || "-",
    String(one.queuedDatagrams),
    String(one.received),
    String(one.sent),
    String(one.sentViaKernel),
    String(one.drops),
    one.pid === 0 ? "-" : String(one.pid),
    commands.get(one.pid) ?? "-",
  ];
}

const INTERFACE_HEADING = [
  "INTERFACE",
  "STATE",
  "MODE",
  "BUFFERS",
  "QUEUES",
  "MTU",
  "RX",
  "TX",
  "DROPS",
];
const SOCKET_HEADING = [
  "PROTO",
  "STATE",
  "LOCAL",
  "REMOTE",
  "WAITING",
  "RX",
  "TX",
  "VIA-KERNEL",
  "DROPS",
  "PID",
  "PROGRAM",
];

/** The first row of a table stands out. */
function section(rows: readonly (readonly string[])[], style: Style): string[] {
  const [heading = "", ...lines] = formatTable(rows);
  return ["", paint(style, "bold", heading), ...lines];
}

/** The status as lines for people. */
export function formatStatus(status: Status, style: Style): string[] {
  const { region, interfaces, programs, sockets } = status;
  const commands = new Map(programs.map(({ pid, command }) => [pid, command]));
  const used = region.frames - region.freeFrames;
  const lines = [
    `exasockd ${status.pid}, stack "${status.stack}", build ${status.build}, ` +
      `up ${formatDuration(status.uptimeSeconds)}`,
    `region ${region.bytes / MIB} MiB, ${region.frames} frames of ${region.frameBytes} bytes, ` +
      `${used} in use`,
  ];
  if (interfaces.length === 0) lines.push("", "no interface is in use");
  else lines.push(...section([INTERFACE_HEADING, ...interfaces.map(interfaceRow)], style));
  for (const { name, nativeProblem } of interfaces) {
    if (nativeProblem !== "") lines.push(`${name}: no native XDP: ${nativeProblem}`);
  }
  for (const { name, reason } of status.unusable) lines.push(`${name}: not used: ${reason}`);
  if (programs.length > 0) {
    const rows = programs.map(({ pid, uid, command }) => [String(pid), String(uid), command]);
    lines.push(...section([["PID", "UID", "PROGRAM"], ...rows], style));
  } else {
    lines.push("", "no program uses the stack");
  }
  if (sockets.length > 0) {
    const rows = sockets.map((one) => socketRow(one, commands));
    lines.push(...section([SOCKET_HEADING, ...rows], style));
    const more = status.socketCount - sockets.length;
    if (more > 0) lines.push(`and ${more} more sockets`);
  }
  const losses = Object.entries(status.counters).filter(
    ([name, count]) => LOSS.test(name) && count > 0,
  );
  if (losses.length > 0) {
    const rows = losses.map(([name, count]) => [wordsOf(name), String(count)]);
    lines.push(...section([["LOST OR REFUSED", "COUNT"], ...rows], style));
  }
  return lines;
}
