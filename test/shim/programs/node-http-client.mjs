// node-http-client.mjs URL: fetches and uploads by one connection that is kept, and by several.

import { createHash } from "node:crypto";
import { Agent, request } from "node:http";

const [url] = process.argv.slice(2);
const UPLOAD_BYTES = 4 << 20;

/** The status and the body's length and digest. */
function fetchOne(path, agent, body) {
  return new Promise((resolve, reject) => {
    const method = body ? "POST" : "GET";
    const question = request(`${url}/${path}`, { agent, method }, (response) => {
      const hash = createHash("sha256");
      let bytes = 0;
      response.on("data", (part) => {
        hash.update(part);
        bytes += part.length;
      });
      response.on("end", () => {
        resolve(`${path}: ${response.statusCode}, ${bytes} bytes, ${hash.digest("hex")}`);
      });
    });
    question.on("error", (error) => resolve(`${path}: ${error.code}`));
    question.on("timeout", reject);
    question.end(body);
  });
}

const kept = new Agent({ keepAlive: true, maxSockets: 1 });
for (const path of ["small.txt", "empty.txt", "nothing.txt", "chunks", "big.bin"]) {
  console.log(await fetchOne(path, kept));
}
console.log(await fetchOne("digest", kept, Buffer.alloc(UPLOAD_BYTES, "upload ")));
const several = new Agent({ keepAlive: true, maxSockets: 8 });
const paths = Array.from({ length: 40 }, (_, i) => (i % 10 === 0 ? "big.bin" : "small.txt"));
console.log((await Promise.all(paths.map((path) => fetchOne(path, several)))).join("\n"));
console.log(await fetchOne("reset", several));
kept.destroy();
several.destroy();
