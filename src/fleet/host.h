/* fleet/host.h: memory of this machine, and what processes have of it. Includes: core. Blocking (a process with many mappings takes milliseconds): for a
 * thread of its own.
 *
 * Sources: proc(5), /proc/meminfo, /proc/net/tcp (proc_net_tcp.rst: local address and state in hex, 0A is LISTEN, uid) and /proc/PID/smaps_rollup; the kernel's cgroup-v2.rst (memory.max, memory.current, memory.stat) and
 * cgroup-v1/memory.rst (memory.limit_in_bytes, memory.usage_in_bytes). What a group has in inactive page cache is given back when it is needed, so it
 * counts as free, as it does in MemAvailable. */
#ifndef HEARTH_FLEET_HOST_H
#define HEARTH_FLEET_HOST_H

#include "core/err.h"
#include "core/str.h"

struct host_paths { const char *proc, *cgroup; };       /* where they are mounted: for tests */
extern const struct host_paths host_paths_system;        /* "/proc", "/sys/fs/cgroup" */

struct host { int64_t total, free; };                    /* bytes: of the machine, or of the tightest group around this process */
enum err host_look(const struct host_paths *at, struct host *out);

/* A process and everything below it. `used` is its proportional share (PSS), `mapped` the part of it that lies in files: the kernel counts that as available. */
struct host_use { int64_t used, mapped; int n; };
#define HOST_TREE 512
size_t host_tree(const struct host_paths *at, int root, int pids[HOST_TREE]);
void host_use(const struct host_paths *at, const int *pids, size_t n, struct host_use *out);

/* Who listens on this port of the loopback (IPv4)? False: somebody else, so what is asked there is told to a stranger. True also where the kernel does not say. */
bool host_port_is_ours(const struct host_paths *at, uint16_t port);

#endif
