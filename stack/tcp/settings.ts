// What the stack follows of the kernel's own settings, net.ipv4.tcp_*: exasockd tells.

import { RegionHeader } from "../region/header";

const EINVAL: i32 = 22;

/** Settings for tcpConfigure. */
export const enum TcpSetting {
  /** tcp_ecn: 0, 1 or 2. */
  Ecn = 0,
  /** tcp_rmem and tcp_wmem, in bytes: the second and the third number. */
  ReceiveBuffer = 1,
  ReceiveBufferMax = 2,
  SendBuffer = 3,
  SendBufferMax = 4,
}

/** 0, or -EINVAL for a setting or value that can't be. */
export function configureTcp(setting: u32, value: u32): i32 {
  const header = RegionHeader.get();
  if (setting != <u32>TcpSetting.Ecn && (value < 2048 || value > 0x40000000)) return -EINVAL;
  switch (setting) {
    case TcpSetting.Ecn:
      if (value > 2) return -EINVAL;
      header.ecnMode = value;
      return 0;
    case TcpSetting.ReceiveBuffer:
      header.tcpReceiveBufferBytes = value;
      return 0;
    case TcpSetting.ReceiveBufferMax:
      header.tcpReceiveBufferBytesMax = value;
      return 0;
    case TcpSetting.SendBuffer:
      header.tcpSendBufferBytes = value;
      return 0;
    case TcpSetting.SendBufferMax:
      header.tcpSendBufferBytesMax = value;
      return 0;
    default:
      return -EINVAL;
  }
}
