// One program, built in several ways, serves the same: fortified, with 64-bit offsets, by gcc.

import assert from "node:assert/strict";
import { test } from "node:test";
import { run } from "../../src/lab/program.ts";
import { compileProgram } from "../support/compile.ts";
import { type Scene, scenario } from "../support/scenario.ts";

interface Build {
  name: string;
  flags: string[];
  compiler?: string;
}

const BUILDS: Build[] = [
  { name: "plain", flags: ["-O0"] },
  { name: "fortified", flags: ["-O2", "-D_FORTIFY_SOURCE=2"], compiler: "gcc" },
  { name: "large-files", flags: ["-O2", "-D_FILE_OFFSET_BITS=64"] },
  { name: "bound-at-start", flags: ["-O2", "-Wl,-z,now"] },
];
const QUESTIONS = ["one", "two", "three", "four"];

function compile({ name, flags, compiler = "clang" }: Build): Promise<string> {
  return compileProgram("test/shim/echo.c", flags, { variant: `-${name}`, compiler });
}

async function serve(scene: Scene, program: string): Promise<void> {
  const server = scene.launch([program, "2048", "1"], { accelerated: true });
  await server.waitForOutput(/port \d+\n/);
  const port = /port (\d+)/.exec(server.stdout)?.[1] ?? "";
  const address = `UDP4:${scene.left.address}:${port}`;
  const client = scene.launch(["socat", "-t", "5", "-", address], { host: "right" });
  for (const question of QUESTIONS) {
    client.write(question);
    await client.waitForOutput(question.toUpperCase());
  }
  client.write("quit");
  scene.note("server", `ended with ${(await server.waitForExit()).code}`);
  scene.note("client", client.stdout);
}

for (const build of BUILDS) {
  scenario(
    `the ${build.name} build of an echo server`,
    async (scene) => serve(scene, await compile(build)),
    { bypass: { received: QUESTIONS.length + 1, sent: QUESTIONS.length } },
  );
}

scenario("a static build serves too, by the kernel", async (scene) => {
  await serve(scene, await compile({ name: "static", flags: ["-O2", "-static"] }));
});

test("the fortified build really calls the checking entries", async () => {
  const fortified = BUILDS.find(({ name }) => name === "fortified");
  assert.ok(fortified);
  const { stdout } = await run(["nm", "-D", await compile(fortified)]);
  for (const name of ["__recv_chk", "__recvfrom_chk", "__read_chk", "__poll_chk"]) {
    assert.match(stdout, new RegExp(`U ${name}@`));
  }
});
