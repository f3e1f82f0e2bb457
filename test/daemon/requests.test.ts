import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { type Peer, refusal } from "../../src/daemon/authorisation.ts";
import {
  formatAttachment,
  formatRefusal,
  parseRequest,
  REQUEST_BYTES_MAX,
} from "../../src/daemon/requests.ts";

function parse(value: unknown) {
  return parseRequest(Buffer.from(JSON.stringify(value)));
}

describe("a request", () => {
  it("is taken in each of its forms", () => {
    const requests = [
      { type: "join", build: "0123456789abcdef", pid: 7 },
      { type: "queues" },
      { type: "status" },
      { type: "stop" },
      { type: "up", interfaces: ["eth0", "eth1.5"] },
      { type: "down", interfaces: [] },
    ];
    for (const request of requests) assert.deepEqual(parse(request), request);
  });

  it("is refused with one line when anything about it is wrong", () => {
    const wrong = [
      null,
      [],
      "join",
      {},
      { type: "start" },
      { type: "join" },
      { type: "join", build: "0123456789ABCDEF", pid: 1 },
      { type: "join", build: "0123456789abcdef", pid: -1 },
      { type: "join", build: "0123456789abcdef", pid: 1.5 },
      { type: "status", more: true },
      { type: "up" },
      { type: "up", interfaces: "eth0" },
      { type: "up", interfaces: ["../../etc"] },
      { type: "up", interfaces: ["a name that is much too long"] },
      { type: "up", interfaces: new Array(65).fill("eth0") },
    ];
    for (const request of wrong) {
      const answer = parse(request);
      assert.equal(typeof answer, "string", JSON.stringify(request));
      assert.ok(!String(answer).includes("\n"));
    }
  });

  it("is refused when it is not JSON, or too long to have been read whole", () => {
    assert.equal(parseRequest(Buffer.from("{")), "the request is not JSON");
    const long = Buffer.alloc(REQUEST_BYTES_MAX + 1, " ");
    assert.equal(parseRequest(long), "the request is too long");
  });

  it("of any bytes or any JSON is answered, never thrown at", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        assert.equal(typeof parseRequest(Buffer.from(bytes)), "string");
      }),
    );
    fc.assert(
      fc.property(fc.json(), (text) => {
        parseRequest(Buffer.from(text));
      }),
    );
  });
});

describe("the answer to join", () => {
  it("is a line that sscanf can read, with one bit per queue", () => {
    assert.equal(formatAttachment(3, 268435456, 6, [0, 1]), "ok 3 268435456 6 3\n");
    assert.equal(formatAttachment(1, 4294967296, 5, [63]), "ok 1 4294967296 5 8000000000000000\n");
    assert.equal(formatAttachment(1, 65536, 4, []), "ok 1 65536 4 0\n");
  });

  it("is one line when it is a refusal, whatever the reason", () => {
    assert.equal(formatRefusal("two\nlines"), "error two lines\n");
  });
});

describe("permission", () => {
  const GROUP = { name: "exasock", number: 990 };
  const NO_GROUP = { name: "exasock", number: null };
  const root: Peer = { pid: 1, uid: 0, groups: [0] };
  const member: Peer = { pid: 2, uid: 1000, groups: [1000, GROUP.number] };
  const stranger: Peer = { pid: 3, uid: 1001, groups: [1001] };

  it("to use the stack is root's and the group's", () => {
    for (const type of ["join", "queues"] as const) {
      assert.equal(refusal(type, root, GROUP), undefined);
      assert.equal(refusal(type, member, GROUP), undefined);
      assert.match(refusal(type, stranger, GROUP) ?? "", /group exasock/);
    }
  });

  it("to change the stack is root's", () => {
    for (const type of ["stop", "up", "down"] as const) {
      assert.equal(refusal(type, root, GROUP), undefined);
      assert.match(refusal(type, member, GROUP) ?? "", /root/);
      assert.match(refusal(type, stranger, GROUP) ?? "", /root/);
    }
  });

  it("to look is everybody's", () => {
    assert.equal(refusal("status", stranger, GROUP), undefined);
  });

  it("is nobody's but root's on a machine without the group", () => {
    assert.equal(refusal("join", root, NO_GROUP), undefined);
    assert.match(refusal("join", member, NO_GROUP) ?? "", /group exasock/);
  });
});
