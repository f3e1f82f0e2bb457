// What the demo prints: headings, commands as a person would type them, and what came of them.

const isColoured = process.stdout.isTTY && !process.env.NO_COLOR;

function paint(code: number, text: string): string {
  return isColoured ? `\x1b[${code}m${text}\x1b[0m` : text;
}

export function heading(text: string): void {
  console.log(`${paint(1, text)}\n`);
}

/** A sentence to the reader. */
export function note(text: string): void {
  console.log(`  ${text}`);
}

/** A command line, on one of the two hosts. */
export function shell(host: string, command: string): void {
  console.log(`  ${paint(36, `${host} #`)} ${command}`);
}

/** Output of a program, as it came. */
export function say(text: string | readonly string[]): void {
  const lines = typeof text === "string" ? text.split("\n") : text;
  for (const line of lines) console.log(`      ${line}`.trimEnd());
  console.log("");
}
