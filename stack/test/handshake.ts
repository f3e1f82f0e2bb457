// Initial sequence numbers and SYN cookies.

import { RegionHeader } from "../region/header";
import { initialSequence, timestampOffset } from "../tcp/initial-sequence";
import { checkCookie, cookieEcn, cookieMss, cookieMssIndex } from "../tcp/syn-cookie";
import { COOKIE_NO_SCALE, cookieSack, cookieScale } from "../tcp/syn-cookie";
import { encodeCookieTimestamp, makeCookie } from "../tcp/syn-cookie";
import { check, scramble, setSecret } from "./check";

const HERE: u64 = 0x0100000affff0000;
const THERE: u64 = 0x0200000affff0000;
const PORTS: u32 = 0x5000d204;
const MINUTE: u64 = 60000000000;
const INDICES: u32 = 8;

export function test_initial_sequence_numbers_follow_a_clock_of_4_microseconds(): void {
  setSecret();
  const at = initialSequence(HERE, THERE, PORTS, 1000000000);
  check(initialSequence(HERE, THERE, PORTS, 1000000000) == at);
  const later = initialSequence(HERE, THERE, PORTS, 2000000000) - at;
  check(later > 240000 && later < 260000);
}

export function test_initial_sequence_numbers_depend_on_every_part_and_the_secret(): void {
  setSecret();
  const now: u64 = 1000000000;
  const at = initialSequence(HERE, THERE, PORTS, now);
  check(initialSequence(HERE + 1, THERE, PORTS, now) != at);
  check(initialSequence(HERE, THERE + 1, PORTS, now) != at);
  check(initialSequence(HERE, THERE, PORTS + 1, now) != at);
  check(initialSequence(THERE, HERE, PORTS, now) != at);
  RegionHeader.get().secret1 += 1;
  check(initialSequence(HERE, THERE, PORTS, now) != at);
}

export function test_the_timestamp_offset_is_one_per_pair_of_addresses(): void {
  setSecret();
  const at = timestampOffset(HERE, THERE);
  check(timestampOffset(HERE, THERE) == at);
  check(timestampOffset(HERE, THERE + 1) != at);
}

export function test_a_cookie_brings_back_the_mss_index(): void {
  setSecret();
  let isn: u32 = 1;
  for (let turn: u32 = 0; turn < 1000; turn++) {
    isn = scramble(isn);
    const now = <u64>isn * 40961;
    for (let index: u32 = 0; index < INDICES; index++) {
      const cookie = makeCookie(HERE, THERE, PORTS, isn, index, now);
      check(checkCookie(HERE, THERE, PORTS, cookie, isn, now) == <i32>index);
    }
  }
}

export function test_a_cookie_is_old_after_the_next_minute(): void {
  setSecret();
  for (let minute: u64 = 250; minute < 260; minute++) {
    const made = minute * MINUTE;
    const cookie = makeCookie(HERE, THERE, PORTS, 77, 5, made);
    check(checkCookie(HERE, THERE, PORTS, cookie, 77, made + 2 * MINUTE - 1) == 5);
    check(checkCookie(HERE, THERE, PORTS, cookie, 77, made + 2 * MINUTE) == -1);
    check(checkCookie(HERE, THERE, PORTS, cookie, 77, made + 200 * MINUTE) == -1);
  }
}

export function test_a_cookie_serves_one_connection_only(): void {
  setSecret();
  const now = 5 * MINUTE;
  const cookie = makeCookie(HERE, THERE, PORTS, 77, 3, now);
  check(checkCookie(HERE + 1, THERE, PORTS, cookie, 77, now) == -1);
  check(checkCookie(HERE, THERE + 1, PORTS, cookie, 77, now) == -1);
  check(checkCookie(HERE, THERE, PORTS + 1, cookie, 77, now) == -1);
  check(checkCookie(HERE, THERE, PORTS, cookie, 77 + 256, now) == -1);
}

export function test_guessed_cookies_are_refused(): void {
  setSecret();
  let guess: u32 = 12345;
  let accepted: u32 = 0;
  for (let turn: u32 = 0; turn < 100000; turn++) {
    guess = scramble(guess);
    if (checkCookie(HERE, THERE, PORTS, guess, 77, MINUTE) >= 0) accepted += 1;
  }
  check(accepted <= 1);
}

export function test_the_cookie_mss_is_the_largest_that_fits(): void {
  check(cookieMss(cookieMssIndex(1460)) == 1460 && cookieMss(cookieMssIndex(1459)) == 1452);
  check(cookieMss(cookieMssIndex(65535)) == 8960 && cookieMss(cookieMssIndex(8960)) == 8960);
  check(cookieMssIndex(100) == 0 && cookieMss(0) == 536);
  for (let mss: u32 = 536; mss < 10000; mss++) check(cookieMss(cookieMssIndex(mss)) <= mss);
}

export function test_options_survive_in_a_timestamp_that_is_not_ahead_of_the_clock(): void {
  let now: u32 = 5;
  for (let turn: u32 = 0; turn < 100; turn++) {
    now = scramble(now);
    for (let scale: u32 = 0; scale <= COOKIE_NO_SCALE; scale++) {
      for (let flags: u32 = 0; flags < 4; flags++) {
        const stamp = encodeCookieTimestamp(now, scale, (flags & 1) != 0, (flags & 2) != 0);
        check(cookieScale(stamp) == scale);
        check(cookieSack(stamp) == ((flags & 1) != 0) && cookieEcn(stamp) == ((flags & 2) != 0));
        check(now - stamp < 64);
      }
    }
  }
}
