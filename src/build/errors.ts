/** An expected failure of the build: its message is printed without a stack trace. */
export class BuildError extends Error {
  override readonly name = "BuildError";
}
