/* The affinity mask, what the cores share, and the control group's quota. */
#include "core/cores.h"

#include "core/str.h"

#include <sched.h>
#include <stdio.h>

static bool read_small(const char *path, char *out, size_t cap)
{
    FILE *f = fopen(path, "re");
    size_t n = f ? fread(out, 1, cap - 1, f) : 0;
    out[n] = 0;
    if (f)
        fclose(f);
    return n > 0;
}

/* True for the first hyperthread of its core. */
static bool is_first_sibling(int cpu)
{
    char path[96], text[64];
    uint64_t first;
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
    if (!read_small(path, text, sizeof text))
        return true;
    return !str_u64(str_slice(text, strspn(text, "0123456789")), &first) || first == (uint64_t)cpu;
}

/* "QUOTA PERIOD" or "max PERIOD" in cgroup v2's cpu.max; 0 when there is no limit. */
static int quota_cores(void)
{
    char text[64];
    str quota, period;
    uint64_t q, p;
    if (!read_small("/sys/fs/cgroup/cpu.max", text, sizeof text))
        return 0;
    str line = str_slice(text, strcspn(text, "\n"));
    if (!str_cut(line, ' ', &quota, &period) || !str_u64(quota, &q) || !str_u64(period, &p) || p == 0)
        return 0;
    return q / p > 0 ? (int)(q / p) : 1;
}

int cores_free(void)
{
    cpu_set_t set;
    int cores = 0, all = 0, quota = quota_cores();
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 1;
    for (int i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &set)) {
            all++;
            cores += is_first_sibling(i);
        }
    if (cores == 0)                     /* only second hyperthreads are ours */
        cores = all;
    if (quota && quota < cores)
        cores = quota;
    return cores < 1 ? 1 : cores;
}

int cores_share(int budget, int taken, int models)
{
    int share = models > 0 ? (budget - taken) / models : budget - taken;
    return share > 1 ? share : 1;
}
