/** Programmer's errors: the stack can't go on. Numbers are stable; they appear in bug reports. */
export const enum Fault {
  /** A frame index outside the pool was passed on inside the stack. */
  FrameIndex = 1,
  /** A frame was freed that was free already. */
  FrameFreedTwice = 2,
  /** udpSubmit without a reservation. */
  NoReservation = 3,
  /** A socket's chain was longer than there are sockets: the table is corrupt. */
  ChainLoop = 4,
}
