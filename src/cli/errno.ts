// Error numbers by name. Node has them all in util.getSystemErrorName and os.constants.errno.

import { constants } from "node:os";
import { getSystemErrorName } from "node:util";

export const errno = {
  ...constants.errno,
  /** The name of a positive error number. */
  name: (number: number): string => getSystemErrorName(-number),
};
