// From the Node TypeScript to the JavaScript that bin/ runs.

import { fromRoot } from "./paths.ts";
import { runTool } from "./run-tool.ts";
import { GENERATED_TS } from "./stack-steps.ts";
import { listFiles, type Step } from "./steps.ts";

const CONFIG = fromRoot("tsconfig.build.json");

/** One step: tsc checks and emits src/ (without the build itself) into build/js. */
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
  ];
}
