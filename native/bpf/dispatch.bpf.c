/*
 * The XDP program of an interface whose queues belong to several stacks: runs the steering program
 * of the stack that has the queue. A queue without one leaves its packets to the kernel.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#define QUEUES_MAX 64

struct {
  __uint(type, BPF_MAP_TYPE_PROG_ARRAY);
  __uint(max_entries, QUEUES_MAX);
  __type(key, __u32);
  __type(value, __u32);
} stacks SEC(".maps");

SEC("xdp")
int dispatch(struct xdp_md *context) {
  bpf_tail_call(context, &stacks, context->rx_queue_index);
  return XDP_PASS;
}
