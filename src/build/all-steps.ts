import { BuildError } from "./errors.ts";
import { jsSteps } from "./js-steps.ts";
import { nativeSteps } from "./native-steps.ts";
import { stackSteps } from "./stack-steps.ts";
import type { Step } from "./steps.ts";

/** Every step of the build, in an order in which they could run. */
export function allSteps(): Step[] {
  return [...stackSteps(), ...nativeSteps(), ...jsSteps()];
}

/** The named steps and everything that they wait for; all steps when none is named. */
export function selectSteps(steps: Step[], names: string[]): Step[] {
  if (names.length === 0) return steps;
  const wanted = new Set<string>();
  const add = (name: string) => {
    const step = steps.find((one) => one.name === name);
    if (!step || wanted.has(name)) return;
    wanted.add(name);
    step.after.forEach(add);
  };
  for (const name of names) {
    add(name);
    if (!wanted.has(name)) {
      const known = steps.map((step) => step.name).join(" ");
      throw new BuildError(`no build step ${name}; there are: ${known}`);
    }
  }
  return steps.filter((step) => wanted.has(step.name));
}
