// TCP_INFO, by the offsets of struct tcp_info.

import { fillTcpInfo } from "../tcp/info";
import { Tcb, TcpFlag, TcpState } from "../tcp/tcb";
import { check, freshTcb } from "./check";

const INDEX: u32 = 1;
const MILLI: u64 = 1000000;

export function test_tcp_info_has_the_layout_and_the_units_of_linux(): void {
  const tcb = changetype<Tcb>(<usize>freshTcb());
  tcb.state = <u8>TcpState.CloseWait;
  tcb.flags = TcpFlag.Timestamps | TcpFlag.SackPermitted | TcpFlag.WindowScale | TcpFlag.Ecn;
  tcb.sndWscale = 7;
  tcb.rcvWscale = 10;
  tcb.rtoNanos = 204 * MILLI;
  tcb.srttNanos = 4123000;
  tcb.minRttNanos = 4000999;
  tcb.cwnd = 23;
  tcb.totalRetransmits = 5;
  tcb.bytesAcked = 0x123456789a;
  tcb.sndNxt = 0xffffff00;
  tcb.writeSeq = 0x100;
  tcb.rcvNxt = 0xfffffff0;
  tcb.rcvAdv = 0xfff0;
  tcb.lastDataSentNanos = 10 * MILLI;
  tcb.timeouts = 70000;
  const at = <usize>fillTcpInfo(INDEX, 30 * MILLI);
  check(load<u8>(at) == 8 && load<u8>(at, 5) == 15 && load<u8>(at, 6) == 0xa7);
  check(load<u32>(at, 8) == 204000 && load<u32>(at, 44) == 20);
  check(load<u32>(at, 68) == 4123 && load<u32>(at, 80) == 23 && load<u32>(at, 100) == 5);
  check(load<u64>(at, 104) == 0xffffffffffffffff && load<u64>(at, 120) == 0x123456789a);
  check(load<u32>(at, 144) == 0x200 && load<u32>(at, 148) == 4000);
  check(load<u32>(at, 232) == 0x10000 && load<u16>(at, 240) == 0xffff);
}

export function test_tcp_info_of_a_listener_tells_its_queue(): void {
  const tcb = changetype<Tcb>(<usize>freshTcb());
  tcb.state = <u8>TcpState.Listen;
  tcb.acceptCount = 3;
  tcb.backlog = 128;
  const at = <usize>fillTcpInfo(INDEX, 0);
  check(load<u8>(at) == 10 && load<u32>(at, 24) == 3 && load<u32>(at, 28) == 128);
}

export function test_tcp_info_before_any_sample_has_no_smallest_round_trip(): void {
  freshTcb();
  const at = <usize>fillTcpInfo(INDEX, 0);
  check(load<u8>(at) == 7 && load<u32>(at, 148) == 0xffffffff);
}
