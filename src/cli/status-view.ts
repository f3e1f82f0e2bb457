import type { Reply } from "./control-client.ts";
import type { Style } from "./output.ts";
export function formatStatus(reply: Reply, _style: Style): string[] {
  return [JSON.stringify(reply)];
}
