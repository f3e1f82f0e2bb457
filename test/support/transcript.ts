// What happened in a scenario, in words that are the same in every run: ephemeral ports have names,
// long data is summed up. The kernel's transcript and exasock's must be equal.

import { createHash } from "node:crypto";

export interface Address {
  address: string;
  port: number;
}

const SHOWN_BYTES_MAX = 80;
/** Ports below are chosen by scenarios (or are 0) and are shown as they are. */
const FIRST_EPHEMERAL_PORT = 1024;

export class Transcript {
  readonly #lines = new Map<string, string[]>();
  readonly #portNames = new Map<number, string>();

  /** Adds a line to the story of one actor: threads and children have a story of their own. */
  add(actor: string, line: string): void {
    this.begin(actor, "").end(line);
  }

  /** Takes the next place in an actor's story for something whose end is not known yet. */
  begin(actor: string, line: string): { end: (line: string) => void } {
    const lines = this.#lines.get(actor) ?? [];
    const place = lines.push(line) - 1;
    this.#lines.set(actor, lines);
    return {
      end: (final) => {
        lines[place] = final;
      },
    };
  }

  /** The whole text, one actor after the other. */
  text(): string {
    const parts: string[] = [];
    for (const [actor, lines] of [...this.#lines].sort(([a], [b]) => a.localeCompare(b))) {
      for (const line of lines) parts.push(`${actor}: ${line}`);
    }
    return `${parts.join("\n")}\n`;
  }

  showAddress({ address, port }: Address): string {
    if (port < FIRST_EPHEMERAL_PORT) return `${address}:${port}`;
    let name = this.#portNames.get(port);
    if (name === undefined) {
      name = `port${this.#portNames.size + 1}`;
      this.#portNames.set(port, name);
    }
    return `${address}:${name}`;
  }
}

/** Bytes as a quoted text, or their count and digest when they are many. */
export function showBytes(bytes: Uint8Array): string {
  if (bytes.length <= SHOWN_BYTES_MAX) return JSON.stringify(Buffer.from(bytes).toString("latin1"));
  const digest = createHash("sha256").update(bytes).digest("hex").slice(0, 12);
  return `<${bytes.length} bytes, sha256 ${digest}…>`;
}
