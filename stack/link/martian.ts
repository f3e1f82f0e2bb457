/** Sources that no host may send from, RFC 1122 3.2.1.3: 0/8, 127/8, multicast, class E. */
export function isMartian(sourceNet: u32): bool {
  const first = sourceNet & 0xff;
  return first == 0 || first == 127 || first >= 224;
}
