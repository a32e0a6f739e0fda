/* The order by hash, the bound by load. */
#include "route/replica.h"

#include <math.h>

#define BOUND 1.25

uint64_t replica_hash(uint64_t h, str s)
{
    for (size_t i = 0; i < s.n; i++)
        h = (h ^ (unsigned char)s.p[i]) * UINT64_C(0x100000001b3);
    return h;
}

/* The finalizer of SplitMix64: every bit of key and server counts in every bit of the weight. */
static uint64_t weight(uint64_t key, uint64_t id)
{
    uint64_t z = key ^ (id * UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

size_t replica_choose(uint64_t key, const struct replica *list, size_t n)
{
    double total = 1;                   /* with the call that is being placed */
    size_t usable = 0, best = n;
    for (size_t i = 0; i < n; i++)
        if (list[i].well) {
            total += list[i].load;
            usable++;
        }
    bool all = usable == 0;
    for (size_t i = 0; i < n && all; i++)
        total += list[i].load;
    double most = ceil(BOUND * total / (double)(all ? n : usable));
    for (size_t i = 0; i < n; i++)
        if ((all || list[i].well) && list[i].load < most && (best == n || weight(key, list[i].id) > weight(key, list[best].id)))
            best = i;
    return best < n ? best : 0;         /* one is below the bound always, if loads are numbers */
}
