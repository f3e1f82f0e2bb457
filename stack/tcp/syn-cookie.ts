// SYN cookies, RFC 4987 3.6: the state of a half-open connection kept in the initial sequence
// number that the client sends back, for when there is no room to keep it here. The cookie is
//
//     Cookie hash + client's ISN + minute * 2^24 + (CookieMinute hash + MSS index) mod 2^24
//
// The client's ISN goes into the second hash as well: else the segment after a lost first one would
// look like a first one with another MSS, and what was in that would be missing unnoticed.
// The minute tells the age, and that only the right MSS index comes out proves that the cookie is
// ours: a guess succeeds once in two million. Options that do not fit go into our timestamp's low
// bits, which the client echoes.

import { sipHash3 } from "../base/siphash";
import { HashUse, hashWord } from "./hash-use";

/** A cookie is believed in the minute of its making and in the one after. */
export const COOKIE_MINUTES: u32 = 2;
/** Low bits of the timestamp: window scale, then two flags. */
const COOKIE_SCALE_MASK: u32 = 15;
const COOKIE_SACK: u32 = 16;
const COOKIE_ECN: u32 = 32;
const COOKIE_TIMESTAMP_BITS: u32 = 64;
/** What stands for "no window scaling": RFC 7323 2.3 allows no more than 14. */
export const COOKIE_NO_SCALE: u32 = 15;

const MINUTE_NANOS: u64 = 60000000000;
const LOW_MASK: u32 = 0xffffff;
const MSS_COUNT: u32 = 8;

/** The MSS that an index stands for: the usual ones of IPv4 paths. index < 8 */
export function cookieMss(index: u32): u32 {
  switch (index) {
    case 0:
      return 536;
    case 1:
      return 1220;
    case 2:
      return 1300;
    case 3:
      return 1400;
    case 4:
      return 1440;
    case 5:
      return 1452;
    case 6:
      return 1460;
    default:
      return 8960;
  }
}

/** Index of the largest MSS that is not above this one; 0 if all are. */
export function cookieMssIndex(mss: u32): u32 {
  let index: u32 = MSS_COUNT - 1;
  while (index > 0 && cookieMss(index) > mss) index -= 1;
  return index;
}

/** Initial sequence number for a SYN that is not remembered. */
export function makeCookie(
  localLo: u64,
  remoteLo: u64,
  portsNet: u32,
  theirIsn: u32,
  mssIndex: u32,
  now: u64,
): u32 {
  const minute = <u32>(now / MINUTE_NANOS);
  const low = (minuteHash(localLo, remoteLo, portsNet, theirIsn, minute) + mssIndex) & LOW_MASK;
  return pairHash(localLo, remoteLo, portsNet) + theirIsn + (minute << 24) + low;
}

/** MSS index of a cookie that came back as acknowledgment - 1, or -1: old, or none of ours. */
export function checkCookie(
  localLo: u64,
  remoteLo: u64,
  portsNet: u32,
  cookie: u32,
  theirIsn: u32,
  now: u64,
): i32 {
  const minute = <u32>(now / MINUTE_NANOS);
  const rest = cookie - pairHash(localLo, remoteLo, portsNet) - theirIsn;
  const age = (minute - (rest >> 24)) & 0xff;
  if (age >= COOKIE_MINUTES) return -1;
  const index = (rest - minuteHash(localLo, remoteLo, portsNet, theirIsn, minute - age)) & LOW_MASK;
  return index < MSS_COUNT ? <i32>index : -1;
}

function pairHash(localLo: u64, remoteLo: u64, portsNet: u32): u32 {
  return <u32>sipHash3(localLo, remoteLo, hashWord(HashUse.Cookie, portsNet, 0));
}

function minuteHash(localLo: u64, remoteLo: u64, portsNet: u32, theirIsn: u32, minute: u32): u32 {
  const counted = minute & 0x3fffffff;
  const word = hashWord(HashUse.CookieMinute, portsNet, counted);
  // The low half of a v4-mapped address is the same for all.
  return <u32>sipHash3(localLo ^ <u64>theirIsn, remoteLo, word);
}

/**
 * Timestamp for the SYN-ACK of a cookie: the client's options in the low bits, and never later than
 * the clock. wscale: the client's shift, or COOKIE_NO_SCALE.
 */
export function encodeCookieTimestamp(tsNow: u32, wscale: u32, sackOk: bool, ecn: bool): u32 {
  const options = wscale | (sackOk ? COOKIE_SACK : 0) | (ecn ? COOKIE_ECN : 0);
  const timestamp = (tsNow & ~(COOKIE_TIMESTAMP_BITS - 1)) | options;
  const isLater = options > (tsNow & (COOKIE_TIMESTAMP_BITS - 1));
  return isLater ? timestamp - COOKIE_TIMESTAMP_BITS : timestamp;
}

/** The client's window shift, or COOKIE_NO_SCALE. tsEcho: what it echoed, our offset taken off. */
export function cookieScale(tsEcho: u32): u32 {
  return tsEcho & COOKIE_SCALE_MASK;
}

export function cookieSack(tsEcho: u32): bool {
  return (tsEcho & COOKIE_SACK) != 0;
}

export function cookieEcn(tsEcho: u32): bool {
  return (tsEcho & COOKIE_ECN) != 0;
}
