// Ten thousand random operations on random sets, in pieces so that a failure is short to read.
// EXASOCK_EPOLL_SEED and EXASOCK_EPOLL_STEPS choose others; each test's name says its seed.

import { tellEpollStory } from "../support/epoll-story.ts";
import { scenario } from "../support/scenario.ts";

const SEED = Number(process.env.EXASOCK_EPOLL_SEED ?? 1);
const STEPS = Number(process.env.EXASOCK_EPOLL_STEPS ?? 10_000);
const STEPS_EACH = 1000;

for (let n = 0; n * STEPS_EACH < STEPS; n++) {
  const seed = SEED + n;
  const steps = Math.min(STEPS_EACH, STEPS - n * STEPS_EACH);
  scenario(
    `${steps} random operations on random sets, seed ${seed}`,
    async (scene) => await tellEpollStory(scene, seed, steps),
    { bypass: { connections: 1, segments: 8 } },
  );
}
