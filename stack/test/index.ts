// Entry of the module of unit tests (test/stack/units.test.ts). The product has none of it.

export * from "./base";
export * from "./congestion";
export * from "./handshake";
export * from "./info";
export * from "./probes";
export * from "./rtt";
