// node probe-stores.mjs FROM TO: the module with a call of probe.store() before each store to
// memory, so that tests can stop the stack at every one. Plain JavaScript in a process of its own,
// for the reason that asc-worker.mjs has.

import { readFileSync, writeFileSync } from "node:fs";
import binaryen from "binaryen";

const [from, to] = process.argv.slice(2);
const module = binaryen.readBinary(readFileSync(from));
module.setFeatures(binaryen.Features.All);
// It hands every address and value to an import, under the import's own name.
module.runPasses(["instrument-memory"]);
const { i32 } = binaryen;
const address = binaryen.createType([i32, i32, i32, i32]);
module.removeFunction("store_ptr");
module.addFunctionImport("store_ptr", "probe", "store", address, i32);
module.removeFunction("load_ptr");
module.addFunction("load_ptr", address, i32, [], module.local.get(3, i32));
for (const way of ["load", "store"]) {
  for (const type of ["i32", "i64", "f32", "f64"]) {
    const name = `${way}_val_${type}`;
    const value = binaryen[type];
    module.removeFunction(name);
    const both = binaryen.createType([i32, value]);
    module.addFunction(name, both, value, [], module.local.get(1, value));
  }
}
// What was made of the others is calls of functions that return their argument.
module.runPasses(["inlining-optimizing", "remove-unused-module-elements"]);
if (!module.validate()) throw new Error("the module with probes is not valid");
writeFileSync(to, module.emitBinary());
