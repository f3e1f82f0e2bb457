// From the Node TypeScript to the JavaScript that bin/ runs.

import { build as bundle } from "esbuild";
import { fromRoot } from "./paths.ts";
import { runTool } from "./run-tool.ts";
import { GENERATED_TS } from "./stack-steps.ts";
import { listFiles, type Step } from "./steps.ts";

const LAUNCHER = fromRoot("build/js/src/cli/exasock.cjs");
const CONFIG = fromRoot("tsconfig.build.json");

/** Says where the bundle is, as import.meta.url did for the modules in it. */
const BUNDLE_URL = "bundleUrl";
const BUNDLE_BANNER = `const ${BUNDLE_URL} = require("node:url").pathToFileURL(__filename).href;`;

/**
 * tsc checks and emits src/ (without the build itself) into build/js. The launcher, whose start
 * everybody waits for, becomes one file as well: loading twelve modules takes Node 10 ms.
 */
export function jsSteps(): Step[] {
  const isBuild = (path: string) => path.startsWith(fromRoot("src/build/"));
  const sources = listFiles("src", /\.ts$/).filter((path) => !isBuild(path));
  const emitted = sources.filter((path) => !path.endsWith(".d.ts"));
  return [
    {
      name: "js",
      after: ["layout", "build-hash"],
      inputs: [...sources, ...GENERATED_TS, CONFIG, fromRoot("tsconfig.json")],
      outputs: emitted.map((path) =>
        path.replace(fromRoot("src"), fromRoot("build/js/src")).replace(/\.ts$/, ".js"),
      ),
      settings: "",
      async run() {
        const tsc = fromRoot("node_modules/typescript/bin/tsc");
        await runTool(process.execPath, [tsc, "-p", CONFIG, "--pretty", "false"]);
        return [];
      },
    },
    {
      name: "launcher",
      after: ["js"],
      inputs: sources,
      outputs: [LAUNCHER],
      settings: BUNDLE_BANNER,
      async run() {
        await bundle({
          entryPoints: [fromRoot("src/cli/exasock.ts")],
          outfile: LAUNCHER,
          bundle: true,
          platform: "node",
          target: "node20",
          format: "cjs",
          define: { "import.meta.url": BUNDLE_URL },
          banner: { js: BUNDLE_BANNER },
          logLevel: "warning",
        });
        return [];
      },
    },
  ];
}
