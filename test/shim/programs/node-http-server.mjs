// node-http-server.mjs ADDRESS PORT FOLDER: files of a folder, and what else clients try.

import { createHash } from "node:crypto";
import { createReadStream, existsSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { basename, resolve } from "node:path";

const [address, port, folder] = process.argv.slice(2);

/** Says what was sent. */
function digest(request, response) {
  const hash = createHash("sha256");
  let bytes = 0;
  request.on("data", (part) => {
    hash.update(part);
    bytes += part.length;
  });
  request.on("end", () => response.end(`${bytes} bytes, ${hash.digest("hex")}\n`));
}

const server = createServer((request, response) => {
  const name = basename(request.url);
  const file = resolve(folder, name);
  if (name === "digest") digest(request, response);
  else if (name === "reset") request.socket.resetAndDestroy();
  else if (name === "chunks") {
    for (let i = 0; i < 100; i++) response.write(`chunk ${i}\n`);
    response.end("the last\n");
  } else if (existsSync(file)) {
    response.setHeader("Content-Length", statSync(file).size);
    createReadStream(file).pipe(response);
  } else if (name !== "never") {
    response.statusCode = 404;
    response.end("nothing there\n");
  }
});
server.listen(Number(port), address, () => console.log("ready"));
