// Tests that need network namespaces need root. Without it they are skipped and say so.

/** Why namespaces can't be made here, or false: the value for node:test's `skip`. */
export const skipWithoutRoot: string | false =
  process.getuid?.() === 0 ? false : "needs root to make network namespaces";
