/* fleet/foot.h: a model's footprint: what it needs of memory. Includes: core. Pure.
 *
 * Measured when it has been loaded, and kept in the ledger under a key that says what was loaded how; before that, estimated from the file. Two measures
 * are kept, since a model may run on the host alone or on a GPU. What it is made of (weights, keys and values for each token of context, the rest) lets a
 * measure hold for another context size: only the tokens change.
 *
 * As JSON, in the ledger's table footprint and in event rows "model_measured": {"model","kind","host","device_host","device","weights","kv_token","tokens",
 * "load_ms"}; bytes, null where unknown. */
#ifndef HEARTH_FLEET_FOOT_H
#define HEARTH_FLEET_FOOT_H

#include "core/arena.h"
#include "core/err.h"

struct foot {                           /* -1: unknown */
    int64_t host;                       /* on the host alone */
    int64_t device_host, device;        /* on a GPU: there, and of the host besides */
    int64_t weights, kv_token, tokens;  /* what is in it; tokens: of all sequences together */
    int64_t load_ms;                    /* how long it took */
};
#define FOOT_UNKNOWN ((struct foot){ -1, -1, -1, -1, -1, -1, -1 })

/* `f` for another number of tokens. */
struct foot foot_for(struct foot f, int64_t tokens);
/* What is unknown in `f` as `guess` has it. */
struct foot foot_or(struct foot f, struct foot guess);
/* Takes a new measure in; true: it is new, or larger than what was known by a tenth (after a start: or smaller), so worth being kept. `device` 0: it is on the host alone. */
bool foot_measure(struct foot *f, int64_t host, int64_t device, bool first);

/* Bytes that are neither weights nor keys and values; -1: unknown. */
int64_t foot_rest(const struct foot *f, bool on_device);

enum err foot_write(struct arena *a, const struct foot *f, str model, const char *kind, str *out);
enum err foot_read(struct arena *a, str text, struct foot *out);

#endif
