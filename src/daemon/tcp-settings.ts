// What the stack's TCP follows of the namespace's own settings, net.ipv4.tcp_*.

import { readFileSync } from "node:fs";
import { TcpSetting } from "../../build/gen/layout.ts";
import type { Region } from "./region.ts";

const FOLDER = "/proc/sys/net/ipv4";
const ECN_HIGHEST = 2;

/** A setting's numbers; none if the kernel does not have it. */
function numbersOf(name: string): number[] {
  try {
    return readFileSync(`${FOLDER}/${name}`, "utf8").trim().split(/\s+/).map(Number);
  } catch {
    return [];
  }
}

/**
 * Tells the stack. The second number of tcp_wmem is left out: Linux begins with it, and makes
 * another one of it (stack/config.ts) before anything is sent.
 */
export function followTcpSettings(region: Region): void {
  const [ecn] = numbersOf("tcp_ecn");
  const [, receive, receiveMax] = numbersOf("tcp_rmem");
  const [, , sendMax] = numbersOf("tcp_wmem");
  const settings: [number, number | undefined][] = [
    // Above come variants of accurate ECN, of which the stack has the plain form.
    [TcpSetting.Ecn, ecn === undefined ? undefined : Math.min(ecn, ECN_HIGHEST)],
    [TcpSetting.ReceiveBuffer, receive],
    [TcpSetting.ReceiveBufferMax, receiveMax],
    [TcpSetting.SendBufferMax, sendMax],
  ];
  for (const [setting, value] of settings) {
    // One that can't be is refused, and the stack keeps what it has.
    if (value !== undefined) region.stack.tcpConfigure(setting, value);
  }
}
