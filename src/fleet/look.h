/* fleet/look.h: a thread that looks at memory, so that the keeper need not wait for it; private to the fleet. Includes: core, io.
 *
 * look_ask() names processes; a moment later the wake-up comes and look_take() has what was seen: the host, the GPUs, and what each of those processes, with
 * everything below it, has of both. */
#ifndef HEARTH_FLEET_LOOK_H
#define HEARTH_FLEET_LOOK_H

#include "fleet/gpu.h"
#include "fleet/host.h"
#include "io/loop.h"

#define LOOK_ROOTS 256

struct look_use {
    uint32_t id;                        /* the asker's */
    int pid;
    struct host_use host;
    int64_t device[GPU_MAX];            /* bytes; 0 where the driver does not tell */
};
struct look {
    int64_t asked_ms;                   /* everything in it is not older than this */
    bool host_known;
    struct host host;
    struct gpu_device devices[GPU_MAX];
    size_t n_devices;
    struct look_use uses[LOOK_ROOTS];
    size_t n_uses;
    char why[200];                      /* why there are no NVIDIA devices although there is a library; empty: nothing is wrong */
};

struct looker;
/* `library`: see gpu.h. */
enum err looker_new(struct io_wake *wake, const char *library, struct looker **out);
void looker_free(struct looker *l);      /* waits for the look that runs */
/* False: one runs already. `roots`: only id and pid are read. */
bool look_ask(struct looker *l, const struct look_use *roots, size_t n, int64_t now_ms);
/* The last look that has ended; NULL: there was none yet. Stays until the next look_ask(). */
const struct look *look_take(struct looker *l);
bool look_runs(struct looker *l);

#endif
