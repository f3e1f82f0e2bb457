/** What went wrong, for the exit status and for tests; the message is for people. */
export type Code =
  | "usage"
  | "setting"
  | "library-missing"
  | "command-not-found"
  | "command-not-executable"
  | "required"
  | "hung-up"
  | "daemon";

/** A shell's own exit statuses for a command that it can't run; all other failures are 1. */
const EXIT_STATUS: Partial<Record<Code, number>> = {
  "command-not-found": 127,
  "command-not-executable": 126,
};

/** An expected failure: its message is one line for the user, printed without a stack trace. */
export class AppError extends Error {
  override readonly name = "AppError";
  readonly code: Code;

  constructor(code: Code, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }

  get exitStatus(): number {
    return EXIT_STATUS[this.code] ?? 1;
  }
}

/** Exit status of a mistake in our own code (EX_SOFTWARE of sysexits.h). */
export const INTERNAL_ERROR_STATUS = 70;
