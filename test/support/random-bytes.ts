// Bytes that look random and are the same in every run.

import { createCipheriv } from "node:crypto";

const KEY_BYTES = 32;
const BLOCK_BYTES = 16;

/** A stream cipher's output over nothing. */
export function randomBytes(count: number, seed = 1): Buffer {
  const cipher = createCipheriv(
    "aes-256-ctr",
    Buffer.alloc(KEY_BYTES, seed),
    Buffer.alloc(BLOCK_BYTES),
  );
  return cipher.update(Buffer.alloc(count));
}
