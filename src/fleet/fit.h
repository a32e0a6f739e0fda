/* fleet/fit.h: would this model fit into the memory that is free now? A guess from its header, for lists; what it really needs is known when it
 * has been loaded. Includes: core.
 *
 * Weights as long as the file, keys and values of all sequences in 16 bits (what the engine allocates: layers × heads for keys and values × their
 * lengths × context × slots), and for buffers a sixteenth of the weights and 128 MiB. */
#ifndef HEARTH_FLEET_FIT_H
#define HEARTH_FLEET_FIT_H

#include "core/gguf.h"

enum { FIT_CONTEXT = 4096, FIT_SLOTS = 4 };     /* what the engine takes when nothing is written (infer/model.h, infer/main.c) */

struct fit { uint64_t weights, kv, buffers, all; uint64_t context; };
/* `context` and `slots` 0: the engine's own choice. */
struct fit fit_estimate(const struct gguf_facts *f, uint64_t bytes, uint64_t context, uint64_t slots);

/* Bytes that can still be had: what the kernel calls available, at most what is left in this process's control group (version 2). 0: not known.
 * `meminfo` and `cgroup` are the texts of /proc/meminfo, and of memory.max and memory.current one after the other; empty: not there. */
uint64_t fit_available_in(str meminfo, str cgroup);
uint64_t fit_available(void);

enum fit_verdict { FIT_YES, FIT_TIGHT, FIT_NO, FIT_UNKNOWN };
const char *fit_verdict_name(enum fit_verdict v);
enum fit_verdict fit_judge(const struct fit *f, uint64_t available);

#endif
