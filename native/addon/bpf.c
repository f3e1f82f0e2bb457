/* Loading of BPF programs through libbpf, maps and links. */
#define _GNU_SOURCE
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "addon.h"

enum { LOG_BYTES = 2048 };
static char last_message[LOG_BYTES];

static int keep_message(enum libbpf_print_level level, const char *format, va_list list) {
  if (level == LIBBPF_WARN) (void)vsnprintf(last_message, sizeof last_message, format, list);
  return 0;
}

/* bpfMessage(): what libbpf said last, for the log. */
static napi_value bpf_message(napi_env env, napi_callback_info info) {
  (void)info;
  napi_value text = NULL;
  napi_create_string_utf8(env, last_message, NAPI_AUTO_LENGTH, &text);
  return text;
}

static int set_rodata(struct bpf_object *object, struct bytes value) {
  struct bpf_map *map = bpf_object__find_map_by_name(object, ".rodata");
  size_t size = 0;
  if (!map) return -ENOENT;
  if (!bpf_map__initial_value(map, &size) || size != value.length) return -EINVAL;
  return bpf_map__set_initial_value(map, value.at, value.length);
}

/*
 * bpfLoad(objectPath, rodata or null, sharedMapName or "", sharedMapFd, ownMapName or ""):
 * [programFd, ownMapFd] of an object file with one program, or -errno.
 * The map `sharedMapName`, if any, is replaced by the existing one; `ownMapName` is a map that the
 * object created (-1 when empty). Both descriptors are the caller's.
 */
static napi_value bpf_load(napi_env env, napi_callback_info info) {
  char path[TEXT_BYTES];
  char shared_name[TEXT_BYTES];
  char own_name[TEXT_BYTES];
  struct bytes rodata;
  int shared_fd;
  if (arguments(env, info, "sbsis", path, &rodata, shared_name, &shared_fd, own_name)) return NULL;
  struct bpf_object *object = bpf_object__open_file(path, NULL);
  if (!object) return number(env, -errno);
  int result = 0;
  if (shared_name[0]) {
    struct bpf_map *shared = bpf_object__find_map_by_name(object, shared_name);
    result = shared ? bpf_map__reuse_fd(shared, shared_fd) : -ENOENT;
  }
  if (result == 0 && rodata.at) result = set_rodata(object, rodata);
  if (result == 0) result = bpf_object__load(object);
  struct bpf_program *program = bpf_object__next_program(object, NULL);
  if (result == 0 && !program) result = -ENOENT;
  if (result < 0) {
    bpf_object__close(object);
    return number(env, result);
  }
  struct bpf_map *own = own_name[0] ? bpf_object__find_map_by_name(object, own_name) : NULL;
  int program_fd = fcntl(bpf_program__fd(program), F_DUPFD_CLOEXEC, 3);
  int own_fd = own ? fcntl(bpf_map__fd(own), F_DUPFD_CLOEXEC, 3) : -1;
  bpf_object__close(object);
  return number_pair(env, program_fd, own_fd);
}

/* bpfMapCreate(name, valueBytes, entries): an array map that programs can map into memory. */
static napi_value bpf_map_create_array(napi_env env, napi_callback_info info) {
  char name[TEXT_BYTES];
  int value_bytes;
  int entries;
  if (arguments(env, info, "sii", name, &value_bytes, &entries)) return NULL;
  LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_MMAPABLE);
  int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, name, sizeof(uint32_t), (uint32_t)value_bytes,
                          (uint32_t)entries, &options);
  return result_or_errno(env, fd);
}

/* bpfMapSet(mapFd, key, value): both 32 bits, as an XSKMAP has them. */
static napi_value bpf_map_set(napi_env env, napi_callback_info info) {
  int fd;
  int key;
  int value;
  if (arguments(env, info, "iii", &fd, &key, &value)) return NULL;
  return result_or_errno(env, bpf_map_update_elem(fd, &key, &value, BPF_ANY));
}

/* bpfMapDelete(mapFd, key) */
static napi_value bpf_map_delete(napi_env env, napi_callback_info info) {
  int fd;
  int key;
  if (arguments(env, info, "ii", &fd, &key)) return NULL;
  return result_or_errno(env, bpf_map_delete_elem(fd, &key));
}

/* bpfLinkXdp(programFd, ifindex, generic): a link; closing it detaches the program. */
static napi_value bpf_link_xdp(napi_env env, napi_callback_info info) {
  int program;
  int ifindex;
  int generic;
  if (arguments(env, info, "iii", &program, &ifindex, &generic)) return NULL;
  LIBBPF_OPTS(bpf_link_create_opts, options,
              .flags = generic ? XDP_FLAGS_SKB_MODE : XDP_FLAGS_DRV_MODE);
  return result_or_errno(env, bpf_link_create(program, ifindex, BPF_XDP, &options));
}

enum { PROGRAM_MAPS_MAX = 16 };

/* A descriptor of the program's map with this name, or -errno. */
static int map_of(int program, const char *name) {
  uint32_t ids[PROGRAM_MAPS_MAX];
  struct bpf_prog_info info = {.nr_map_ids = PROGRAM_MAPS_MAX, .map_ids = (uint64_t)(uintptr_t)ids};
  uint32_t bytes = sizeof info;
  if (bpf_obj_get_info_by_fd(program, &info, &bytes) != 0) return -errno;
  for (uint32_t i = 0; i < info.nr_map_ids && i < PROGRAM_MAPS_MAX; i++) {
    struct bpf_map_info map = {0};
    bytes = sizeof map;
    int fd = bpf_map_get_fd_by_id(ids[i]);
    if (fd < 0) return -errno;
    if (bpf_obj_get_info_by_fd(fd, &map, &bytes) == 0 && strcmp(map.name, name) == 0) return fd;
    close(fd);
  }
  return -ENOENT;
}

/* A descriptor of the link by which the program is attached to an interface, or -errno. */
static int link_of(uint32_t program) {
  for (uint32_t id = 0; bpf_link_get_next_id(id, &id) == 0;) {
    struct bpf_link_info info = {0};
    uint32_t bytes = sizeof info;
    int fd = bpf_link_get_fd_by_id(id);
    if (fd < 0) continue;
    if (bpf_obj_get_info_by_fd(fd, &info, &bytes) == 0 && info.type == BPF_LINK_TYPE_XDP &&
        info.prog_id == program) {
      return fd;
    }
    close(fd);
  }
  return -ENOENT;
}

/*
 * bpfAttached(ifindex, mapName): [programName, linkFd, mapFd, generic] of the XDP program that is
 * attached to an interface, with -errno in place of what it does not have; -ENOENT if none is.
 */
static napi_value bpf_attached(napi_env env, napi_callback_info info) {
  int ifindex;
  char map_name[TEXT_BYTES];
  if (arguments(env, info, "is", &ifindex, map_name)) return NULL;
  LIBBPF_OPTS(bpf_xdp_query_opts, query);
  int result = bpf_xdp_query(ifindex, 0, &query);
  if (result < 0) return number(env, result);
  if (query.prog_id == 0) return number(env, -ENOENT);
  struct bpf_prog_info program_info = {0};
  uint32_t bytes = sizeof program_info;
  int program = bpf_prog_get_fd_by_id(query.prog_id);
  if (program < 0 || bpf_obj_get_info_by_fd(program, &program_info, &bytes) != 0) {
    return number(env, -errno);
  }
  napi_value list = NULL;
  napi_value name = NULL;
  napi_create_array_with_length(env, 4, &list);
  napi_create_string_utf8(env, program_info.name, NAPI_AUTO_LENGTH, &name);
  napi_set_element(env, list, 0, name);
  napi_set_element(env, list, 1, number(env, link_of(query.prog_id)));
  napi_set_element(env, list, 2, number(env, map_of(program, map_name)));
  napi_set_element(env, list, 3, number(env, query.attach_mode == XDP_ATTACHED_SKB));
  close(program);
  return list;
}

void export_bpf(napi_env env, napi_value exports) {
  libbpf_set_print(keep_message);
  export_function(env, exports, "bpfMessage", bpf_message);
  export_function(env, exports, "bpfLoad", bpf_load);
  export_function(env, exports, "bpfMapCreate", bpf_map_create_array);
  export_function(env, exports, "bpfMapSet", bpf_map_set);
  export_function(env, exports, "bpfMapDelete", bpf_map_delete);
  export_function(env, exports, "bpfLinkXdp", bpf_link_xdp);
  export_function(env, exports, "bpfAttached", bpf_attached);
}
