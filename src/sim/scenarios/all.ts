import { CONTROL } from "./control.ts";
import { CORNERS } from "./corners.ts";
import { LIFE, LONG } from "./life.ts";
import { PRESSURE } from "./pressure.ts";
import type { Scenario } from "./scenario.ts";
import { TRANSFERS } from "./transfers.ts";

/** Every scenario; seed n runs the one at n modulo their number. */
export const SCENARIOS: readonly Scenario[] = [
  ...TRANSFERS,
  ...CONTROL,
  ...PRESSURE,
  ...CORNERS,
  ...LIFE,
];

export function scenarioOf(seed: number): Scenario {
  return SCENARIOS[seed % SCENARIOS.length] as Scenario;
}

/** Undefined if there is none of this name. */
export function scenarioNamed(name: string): Scenario | undefined {
  return [...SCENARIOS, ...LONG].find((one) => one.name === name);
}
