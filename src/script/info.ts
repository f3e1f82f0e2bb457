// Assertions about TCP_INFO: `%{ assert tcpi_snd_cwnd == 10 }%`.

import { TcpInfoView } from "../../build/gen/layout.ts";
import type { Program } from "./descriptors.ts";
import { ScriptError } from "./events.ts";
import { failedAssertion } from "./expression.ts";

/** Fields of linux/tcp.h that the stack's structure calls otherwise, and parts of bytes. */
const OTHERWISE: Readonly<Record<string, (info: TcpInfoView) => number>> = {
  tcpi_ca_state: (info) => info.congestionState,
  tcpi_snd_wscale: (info) => info.windowScales & 15,
  tcpi_rcv_wscale: (info) => info.windowScales >> 4,
};

/** The first assertion of the block that does not hold for the connection that was made last. */
export function assertInfo(program: Program, text: string, line: number): string | undefined {
  const { machine, subject, descriptors } = program;
  const descriptor = subject === undefined ? undefined : descriptors.get(subject);
  if (!descriptor) throw new ScriptError(line, "there is no connection to look at");
  const at = machine.host.calls.tcpInfo(descriptor.index, machine.now());
  const info = new TcpInfoView(machine.host.view, at);
  return failedAssertion(text, line, (name) => fieldOf(info, name));
}

/** `tcpi_snd_cwnd` is the field sndCwnd. */
function fieldOf(info: TcpInfoView, name: string): number | undefined {
  const special = OTHERWISE[name];
  if (special) return special(info);
  if (!name.startsWith("tcpi_")) return undefined;
  const words = name.slice("tcpi_".length);
  const field = words.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase());
  const value = (info as unknown as Record<string, unknown>)[field];
  return typeof value === "number" || typeof value === "bigint" ? Number(value) : undefined;
}
