/*
 * The XDP program: gives the accelerated sockets their packets and passes everything else on.
 *
 * The table it looks into is written by the stack (stack/link/steering.ts) through a mapping of the
 * map, so a bind or a close costs no system call. Key and hash are part of that agreement.
 * One instance is loaded per interface, with its slot in `interface_slot`; the table is shared.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/tcp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define STEERING_BUCKETS 8192
#define KEYS_PER_BUCKET 8
/* The entry behind the buckets begins with the number of shared ports. */
#define STEERING_SHARED STEERING_BUCKETS
#define STEERING_ENTRIES (STEERING_BUCKETS + 65536 / sizeof(struct bucket))
#define QUEUES_MAX 64

#define IPV4_MORE_FRAGMENTS_OR_OFFSET 0x3fff
#define V4_MAPPED_FOLD 0xffff0000u

/* Protocol numbers inside a key; the first is not one of IP's. */
#define KEY_LOCAL_ADDRESS 0
#define KEY_SHARED_TCP 1
#define KEY_SHARED_UDP 2
#define KEY_TCP 6
#define KEY_UDP 17

#define ICMP_UNREACHABLE 3
#define ICMP_UNREACHABLE_FRAGMENTATION 4
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETER_PROBLEM 12

struct bucket {
  __u64 keys[KEYS_PER_BUCKET];
};

/* What TCP and UDP begin with: all that an ICMP error is sure to quote of them. */
struct ports {
  __be16 source;
  __be16 destination;
};

struct icmp_error {
  __u8 type;
  __u8 code;
  __u16 checksum;
  __u32 unused;
};

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, STEERING_ENTRIES);
  __uint(map_flags, BPF_F_MMAPABLE);
  __type(key, __u32);
  __type(value, struct bucket);
} steering SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_XSKMAP);
  __uint(max_entries, QUEUES_MAX);
  __type(key, __u32);
  __type(value, __u32);
} xsks SEC(".maps");

/* The slot in the stack's interface table, filled in at load time. */
const volatile __u32 interface_slot = 0;

static __always_inline int in_bucket(__u32 index, __u64 key) {
  const struct bucket *bucket = bpf_map_lookup_elem(&steering, &index);
  if (!bucket) return 0;
  for (int i = 0; i < KEYS_PER_BUCKET; i++) {
    __u64 found = bucket->keys[i];
    if (found == key) return 1;
    if (found == 0) return 0;
  }
  return 0;
}

/* A key lies in one of two buckets. */
static __always_inline int present(__u32 fold, __u16 port_net, __u32 protocol, __u32 slot) {
  __u32 low = (__u32)port_net << 16 | protocol << 8 | slot;
  __u64 key = (__u64)fold << 32 | low;
  __u32 hash = fold * 0x9e3779b1u ^ low * 0x85ebca6bu;
  hash ^= hash >> 15;
  return in_bucket(hash * 0x9e3779b1u >> 19, key) || in_bucket(hash * 0x85ebca6bu >> 19, key);
}

/* Is there an accelerated socket at this address and port, bound to it or to the wildcard? */
static __always_inline int wanted(__u32 address_net, __u16 port_net, __u32 protocol) {
  __u32 fold = address_net ^ V4_MAPPED_FOLD;
  __u32 slot = (interface_slot + 1) & 0xff;
  if (port_net == 0) return 0;
  /* Sockets bound to an interface are rare: they are looked for last. */
  if (present(fold, port_net, protocol, 0)) return 1;
  if (present(0, port_net, protocol, 0) || present(0, port_net, protocol, slot)) {
    /* A wildcard socket wants what is addressed to this host, not what the host forwards. */
    return present(fold, 0, KEY_LOCAL_ADDRESS, 0);
  }
  return present(fold, port_net, protocol, slot);
}

/* Does an ordinary program have a socket at this port, too? */
static __always_inline int shared(__u16 port_net, __u32 protocol) {
  __u32 index = STEERING_SHARED;
  const struct bucket *spare = bpf_map_lookup_elem(&steering, &index);
  if (!spare || (__u32)spare->keys[0] == 0) return 0;
  __u32 kind = protocol == IPPROTO_TCP ? KEY_SHARED_TCP : KEY_SHARED_UDP;
  return present(0, port_net, kind, 0);
}

/* What comes to a shared port is the kernel's, unless it is for a connection of the stack. */
static __always_inline int kernels(struct xdp_md *context, const struct iphdr *ip,
                                   const struct tcphdr *tcp) {
  const void *end = (const void *)(long)context->data_end;
  if (ip->protocol == IPPROTO_UDP) return 1;
  if ((const void *)(tcp + 1) > end) return 1;
  if (tcp->syn && !tcp->ack) return 1;
  struct bpf_sock_tuple flow = {.ipv4 = {ip->saddr, ip->daddr, tcp->source, tcp->dest}};
  struct bpf_sock *found = bpf_skc_lookup_tcp(context, &flow, sizeof flow.ipv4,
                                              BPF_F_CURRENT_NETNS, 0);
  if (!found) return 0;
  int listens = found->state == BPF_TCP_LISTEN;
  bpf_sk_release(found);
  return !listens;
}

/* An ICMP error quotes the packet that caused it: its source is a socket of ours. */
static __always_inline int wanted_error(const void *at, const void *end) {
  const struct icmp_error *icmp = at;
  if ((const void *)(icmp + 1) > end) return 0;
  if (icmp->type != ICMP_UNREACHABLE && icmp->type != ICMP_TIME_EXCEEDED &&
      icmp->type != ICMP_PARAMETER_PROBLEM) {
    return 0;
  }
  const struct iphdr *quoted = (const void *)(icmp + 1);
  if ((const void *)(quoted + 1) > end) return 0;
  if (quoted->version != 4 || quoted->ihl < 5) return 0;
  const struct ports *ports = (const void *)quoted + quoted->ihl * 4;
  if ((const void *)(ports + 1) > end) return 0;
  if (quoted->protocol == IPPROTO_TCP) return wanted(quoted->saddr, ports->source, KEY_TCP);
  /* The twin of a datagram socket hears of path MTUs, and the kernel's routes with it. */
  if (icmp->type == ICMP_UNREACHABLE && icmp->code == ICMP_UNREACHABLE_FRAGMENTATION) return 0;
  return quoted->protocol == IPPROTO_UDP && wanted(quoted->saddr, ports->source, KEY_UDP);
}

SEC("xdp")
int steer(struct xdp_md *context) {
  const void *end = (const void *)(long)context->data_end;
  const struct ethhdr *ethernet = (const void *)(long)context->data;
  const struct iphdr *ip = (const void *)(ethernet + 1);
  if ((const void *)(ip + 1) > end) return XDP_PASS;
  if (ethernet->h_proto != bpf_htons(ETH_P_IP)) return XDP_PASS;
  if (ip->version != 4 || ip->ihl < 5) return XDP_PASS;
  /* The kernel reassembles; what comes of it reaches the program by its kernel socket. */
  if (ip->frag_off & bpf_htons(IPV4_MORE_FRAGMENTS_OR_OFFSET)) return XDP_PASS;
  const void *payload = (const void *)ip + ip->ihl * 4;
  int redirect = 0;
  if (ip->protocol == IPPROTO_UDP || ip->protocol == IPPROTO_TCP) {
    const struct ports *ports = payload;
    if ((const void *)(ports + 1) > end) return XDP_PASS;
    /* The keys' protocol numbers are IP's. */
    redirect = wanted(ip->daddr, ports->destination, ip->protocol);
    if (redirect && shared(ports->destination, ip->protocol) && kernels(context, ip, payload)) {
      return XDP_PASS;
    }
  } else if (ip->protocol == IPPROTO_ICMP) {
    redirect = wanted_error(payload, end);
  }
  if (!redirect) return XDP_PASS;
  /* A source of this host's own can't come in from outside: the kernel drops and counts it. */
  if (present(ip->saddr ^ V4_MAPPED_FOLD, 0, KEY_LOCAL_ADDRESS, 0)) return XDP_PASS;
  /* A queue without a socket (just being set up or closed) leaves the packet to the kernel. */
  return (int)bpf_redirect_map(&xsks, context->rx_queue_index, XDP_PASS);
}
