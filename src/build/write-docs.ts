import { writePages } from "./docs.ts";

writePages();
