// Segments and times as a packet script writes them.

import type { Segment, TcpOption } from "./events.ts";

const NANOS_PER_SECOND = 1e9;

export function formatSegment(segment: Segment): string {
  const { flags, seq, lengthBytes, ack, win, urg, options, ecn } = segment;
  const parts = [flags || "-", `${seq}:${seq + lengthBytes}(${lengthBytes})`];
  if (ecn !== undefined && ecn !== "noecn") parts.unshift(`[${ecn}]`);
  if (ack !== undefined) parts.push(`ack ${ack}`);
  if (win !== undefined) parts.push(`win ${win}`);
  if (urg !== undefined) parts.push(`urg ${urg}`);
  if (options === undefined) parts.push("<...>");
  else if (options.length > 0) parts.push(`<${options.map(formatOption).join(",")}>`);
  return parts.join(" ");
}

function formatOption(option: TcpOption): string {
  switch (option.kind) {
    case "mss":
    case "wscale":
      return `${option.kind} ${option.value}`;
    case "TS":
      return `TS val ${option.value} ecr ${option.echo}`;
    case "sack":
      return `sack ${option.blocks.map(([start, end]) => `${start}:${end}`).join(" ")}`;
    case "raw":
      return `option ${option.number} [${option.data.join(",")}]`;
    default:
      return option.kind;
  }
}

/** Seconds, without zeros at the end: `0.2`. */
export function formatTime(nanos: number): string {
  return (nanos / NANOS_PER_SECOND).toFixed(6).replace(/\.?0+$/, "") || "0";
}
