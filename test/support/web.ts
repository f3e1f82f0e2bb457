// Files for web servers to serve, and what loads them from another host.

import { mkdir, writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import { randomBytes } from "./random-bytes.ts";
import type { Scene } from "./scenario.ts";

const SMALL_TEXT = "a small page\n";
/** Larger than any socket's buffers by default. */
const BIG_BYTES = 12 << 20;

/** Makes a folder with a small page, an empty one and a big file; returns its path. */
export async function makeSite(parent: string): Promise<string> {
  const folder = resolve(parent, "site");
  await mkdir(folder);
  await writeFile(resolve(folder, "small.txt"), SMALL_TEXT);
  await writeFile(resolve(folder, "empty.txt"), "");
  await writeFile(resolve(folder, "big.bin"), randomBytes(BIG_BYTES));
  return folder;
}

/** Where a client runs and how; on the right host and the kernel when nothing is given. */
export interface ClientOptions {
  host?: string;
  accelerated?: boolean;
}

/** What curl prints for these arguments, or how it fails. */
export async function curl(scene: Scene, args: readonly string[], options: ClientOptions = {}) {
  const command = ["curl", "--silent", "--show-error", "--max-time", "20", ...args];
  const client = scene.launch(command, { host: "right", ...options });
  const { stdout, stderr, code } = await client.waitForExit();
  return { stdout, stderr, code };
}

/** Asks for a small page, an empty one, one that is not there and several by one connection. */
export async function browse(scene: Scene, url: string, options: ClientOptions = {}) {
  const status = ["--write-out", "[%{http_code}, %{size_download} bytes, %{num_connects} new]"];
  const pages = ["small.txt", "empty.txt", "nothing.txt"];
  for (const page of pages) {
    const { stdout, code } = await curl(scene, [...status, `${url}/${page}`], options);
    scene.note("client", `${page}: ${code} ${page === "nothing.txt" ? stdout.slice(-40) : stdout}`);
  }
  const many = Array.from({ length: 10 }, () => `${url}/small.txt`);
  const { stdout, code } = await curl(scene, [...status, ...many], options);
  scene.note("client", `ten times: ${code} ${stdout}`);
}

/** Fetches the big file, whole and in part. */
export async function fetchBig(scene: Scene, url: string, options: ClientOptions = {}) {
  const script = `curl -sS --max-time 30 ${url}/big.bin | sha256sum`;
  const whole = scene.launch(["sh", "-c", script], { host: "right", ...options });
  const { stdout } = await whole.waitForSuccess();
  scene.note("client", `big.bin: ${stdout}`);
}

/** Loads a page with many requests at a time; notes what failed. */
export async function load(scene: Scene, url: string, args: readonly string[]) {
  const client = scene.launch(["ab", "-q", ...args, url], { host: "right" });
  const { stdout } = await client.waitForSuccess();
  const wanted = /^(Complete requests|Failed requests|Non-2xx responses|HTML transferred):/;
  for (const line of stdout.split("\n").filter((line) => wanted.test(line))) {
    scene.note("load", line.replace(/\s+/g, " "));
  }
}
