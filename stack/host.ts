// What the stack asks of its host. In C these are static inline functions (native/core/host.h), in
// Node they are Atomics on the same memory (src/core/instance.ts). Anything that another process
// or the kernel writes concurrently is read and written through them: plain accesses may be
// hoisted or merged by the C compiler.

/** Reads a word that another process or the kernel publishes; later reads stay behind it. */
export declare function loadAcquire32(at: usize): u32;
/** Publishes a word; earlier writes are visible before it. */
export declare function storeRelease32(at: usize, value: u32): void;
/** Full fence: earlier writes are visible before any later read. */
export declare function fence(): void;
/**
 * Keeps the C compiler from moving stores across: what is repaired after a death between two of
 * them depends on which was first. No instruction.
 */
export declare function barrier(): void;
/** Reports a programmer's error and does not return. */
export declare function fault(code: u32): void;
