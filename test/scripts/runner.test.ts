import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { fromRoot } from "../../src/build/paths.ts";
import { createStack } from "../../src/core/instance.ts";
import { failedAssertion } from "../../src/script/expression.ts";
import { findScripts } from "../../src/script/markdown.ts";
import { parseScript } from "../../src/script/parser.ts";
import { checkScript, recordScript } from "../../src/script/report.ts";

const compiled = new WebAssembly.Module(readFileSync(fromRoot("build/stack.wasm")));
const makeStack = () => createStack(compiled);

const LISTEN = `0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
+0 bind(3, ..., ...) = 0
+0 listen(3, 8) = 0
`;
const ACCEPT = `${LISTEN}+0 < S 0:0(0) win 32792 <mss 1000>
+0 > S. 0:0(0) ack 1 <mss 1460>
+.1 < . 1:1(0) ack 1 win 32792
+0 accept(3, ..., ...) = 4
`;

function fenceOf(script: string, words = "") {
  const text = `Prose.\n\n\`\`\`packetdrill${words}\n${script}\`\`\`\n`;
  const [fence] = findScripts("case.md", text, new Map());
  assert.ok(fence);
  return fence;
}

/** The report of a script that must fail. */
function reportOf(script: string, words = ""): string {
  const report = checkScript(fenceOf(script, words), makeStack);
  assert.ok(report, "the script passes");
  return report;
}

function passes(script: string, words = ""): void {
  assert.equal(checkScript(fenceOf(script, words), makeStack), undefined);
}

describe("a packet script fails", () => {
  it("when a packet is not as expected, and shows both side by side", () => {
    const report = reportOf(`${LISTEN}+0 < S 0:0(0) win 1000 <mss 1000>
+0 > S. 0:0(0) ack 2 <mss 1460>
`);
    assert.match(report, /^case\.md:4, as it stands: line 8: not as expected: ack/);
    assert.match(
      report,
      /! \+0 > S\. 0:0\(0\) ack 2 <mss 1460> +\| 0 > S\. 0:0\(0\) ack 1 win \d+/,
    );
  });

  it("when a packet comes that nobody expects", () => {
    const report = reportOf(`${ACCEPT}+0 < P. 1:101(100) ack 1 win 1000
+0 read(4, ..., 1000) = 100
`);
    assert.match(report, /a packet that was not expected: 0\.1 > \. 1:1\(0\) ack 101/);
  });

  it("when a packet does not come, or not in time", () => {
    assert.match(reportOf(`${ACCEPT}+0 > . 1:1(0) ack 1\n`), /the packet was not sent/);
    const late = `${ACCEPT}+0 write(4, ..., 100) = 100
+.1 > P. 1:101(100) ack 1
`;
    assert.match(reportOf(late), /not as expected: time/);
  });

  it("when a call returns something else, or another error", () => {
    const read = (what: string) => `${ACCEPT}+0 recv(4, ..., 100, MSG_DONTWAIT) = ${what}\n`;
    assert.match(reportOf(read("5")), /recv = -1 EAGAIN/);
    assert.match(reportOf(read("-1 ENOTCONN")), /recv = -1 EAGAIN/);
    passes(read("-1 EAGAIN"));
  });

  it("when a call blocks that should not, or returns too early or too late", () => {
    assert.match(reportOf(`${ACCEPT}+0 read(4, ..., 100) = 5\n`), /the call blocks/);
    const waits = (until: string) => `${ACCEPT}+0...${until} read(4, ..., 100) = 50
+.2 < P. 1:51(50) ack 1 win 1000
+0 > . 1:1(0) ack 51
`;
    assert.match(reportOf(waits("0.1")), /the call returned at 0\.3/);
    assert.match(reportOf(waits("0.4")), /the call returned at 0\.3/);
    passes(waits("0.2"));
  });

  it("when an assertion does not hold, and tells the values", () => {
    const report = reportOf(`${ACCEPT}+0 %{ assert tcpi_snd_cwnd == 11 }%\n`);
    assert.match(report, /does not hold: tcpi_snd_cwnd == 11 \(tcpi_snd_cwnd is 10\)/);
  });

  it("for PSH only if it is exact", () => {
    const script = `${ACCEPT}+0 write(4, ..., 100) = 100
+0 > . 1:101(100) ack 1
`;
    passes(script);
    assert.match(reportOf(script, " exact"), /not as expected: flags/);
  });

  it("for an option in another place", () => {
    const script = `${LISTEN}+0 < S 0:0(0) win 1000 <mss 1000,nop,wscale 7>
+0 > S. 0:0(0) ack 1 <nop,wscale 7,mss 1460>
`;
    assert.match(reportOf(script), /not as expected: options/);
  });
});

describe("a script that is recorded", () => {
  it("passes when it is put in the place of the one that failed", () => {
    const wrong = `${ACCEPT}+0 write(4, ..., 1500) = 1200
+0 > . 1:1001(1000) ack 7
+.05 < . 1:1(0) ack 1001 win 32792
+0...0.1 read(4, ..., 100) = 99
+.1 < P. 1:41(40) ack 1501 win 32792
`;
    assert.ok(checkScript(fenceOf(wrong), makeStack));
    const actual = recordScript(fenceOf(wrong), makeStack);
    assert.match(actual, /write\(4, \.\.\., 1500\) = 1500/);
    assert.match(actual, /> P\. 1001:1501\(500\) ack 1/);
    assert.match(actual, /\+0\.\.\.0\.1 read\(4, \.\.\., 100\) = 40/);
    passes(`${actual}\n`);
  });
});

describe("the grammar", () => {
  const parse = (text: string) => parseScript(text).events;
  const complaint = (text: string) => () => parseScript(text, 10);

  it("has packetdrill's times", () => {
    const times = parse(
      "0.5 close(3) = 0\n+.1 close(3) = 0\n* close(3) = 0\n+0...0.25 close(3) = 0",
    ).map(({ time }) => time);
    assert.deepEqual(times, [
      { kind: "absolute", at: 500_000_000 },
      { kind: "relative", at: 100_000_000 },
      { kind: "any" },
      { kind: "relative", at: 0, until: 250_000_000 },
    ]);
  });

  it("has comments of three kinds and events over several lines", () => {
    const events = parse("// one\n# two\n/* three\n*/ +0 close(\n3) = 0");
    assert.equal(events.length, 1);
    assert.equal(events[0]?.text, "+0 close( 3) = 0");
    assert.equal(events[0]?.line, 4);
  });

  it("reads flags, ranges, windows, marks and options of a packet", () => {
    const [event] = parse(
      "+0 < @3 [ce] FP.UEW 5:8(3) ack 9 win 10 urg 2 <TS val 1 ecr 2,sack 3:4 5:6,option 9 [1]>",
    );
    assert.deepEqual(event?.action, {
      kind: "inbound",
      peers: { first: 3, last: 3 },
      segment: {
        flags: "FP.UEW",
        seq: 5,
        lengthBytes: 3,
        ack: 9,
        win: 10,
        urg: 2,
        ecn: "ce",
        options: [
          { kind: "TS", value: 1, echo: 2 },
          {
            kind: "sack",
            blocks: [
              [3, 4],
              [5, 6],
            ],
          },
          { kind: "raw", number: 9, data: [1] },
        ],
      },
    });
  });

  it("tells the line of what it can't read", () => {
    const line = (number: number) => ({ name: "ScriptError", line: number });
    assert.throws(complaint(""), line(10));
    assert.throws(complaint("+0 close(3) = 0\n+0 < S 0:5(4) win 1"), line(11));
    assert.throws(complaint("+0 < S 0:0(0)"), line(10));
    assert.throws(complaint("+0 < . 0:0(0) win 5"), line(10));
    assert.throws(complaint("+0 close(NOWHERE) = 0"), line(10));
    assert.throws(complaint("+0 close(3) = -1"), line(10));
    assert.throws(complaint("+0 close(3) = -1 ENONSENSE"), line(10));
    assert.throws(complaint("+0 < S 0:0(0) win 1 <mss>"), line(10));
  });
});

describe("assertions", () => {
  const holds = (text: string) =>
    failedAssertion(`assert ${text}`, 1, (name) => ({ a: 6, b: 7 })[name]) === undefined;

  it("have the operators and the order of Python", () => {
    assert.ok(holds("a + 2 * b == 20 and (a + 2) * b == 56"));
    assert.ok(holds("1 < a <= 6 < b"));
    assert.ok(!holds("1 < a < 6"));
    assert.ok(holds("not a == b and (a == b or a != b)"));
    assert.ok(holds("a << 2 == 24 and b >> 1 == 3 and a | 1 == 7 and a & 3 == 2 and b % 4 == 3"));
    assert.ok(holds('-a == -6, "a note"'));
    assert.ok(!holds("a == 6; assert b == 6"));
  });

  it("know no other names", () => {
    assert.throws(() => holds("c == 1"), { name: "ScriptError" });
  });
});
