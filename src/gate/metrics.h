/* gate/metrics.h: counts of calls, per loop and model, for Prometheus; private to the gate. Includes: core, route.
 *
 * Each loop counts in memory of its own; whoever is asked for /metrics adds the loops up. Counters are read while they are written:
 * single values are right, a histogram's count may be one call ahead of its sum. Names and buckets are those of OpenTelemetry's
 * GenAI conventions ("Semantic conventions for generative AI metrics"), in the form that Prometheus gives them. */
#ifndef HEARTH_GATE_METRICS_H
#define HEARTH_GATE_METRICS_H

#include "core/arena.h"
#include "core/buf.h"
#include "route/policy.h"

#include <stdatomic.h>

enum metric_outcome { METRIC_OK, METRIC_ERROR, METRIC_CUT, METRIC_REFUSED, METRIC_CANCELLED, METRIC_OUTCOMES };
enum { METRIC_BUCKETS = 14, METRIC_SLOTS = 256 };

struct metric_histogram { atomic_uint_least64_t bucket[METRIC_BUCKETS + 1], sum; };    /* sum in micros; tokens as they are */

struct metric_slot {                    /* of one model */
    char model[132], provider[132];
    atomic_uint_least64_t outcomes[METRIC_OUTCOMES], tries, cost_micros;
    struct metric_histogram duration, first_chunk, input_tokens, output_tokens;
};

struct metrics {                        /* of one loop */
    struct arena arena;
    struct metric_slot *slots[METRIC_SLOTS];    /* the last one takes what has no other */
    atomic_size_t n;
};

struct metric_call {                    /* a call that has ended; negative: not known */
    enum metric_outcome outcome;
    int64_t total_us, first_us, input_tokens, output_tokens, cost_micros, tries;
};

void metrics_init(struct metrics *m);
void metrics_free(struct metrics *m);
/* The loop that owns them. `model` NULL: none was chosen. */
void metrics_count(struct metrics *m, const struct model *model, const struct metric_call *c);
/* All loops' counters as text (Prometheus "Exposition formats", 0.0.4), appended. Any thread. */
enum err metrics_write(struct arena *scratch, struct buf *b, struct metrics *const *loops, size_t n_loops);
const char *metric_outcome_name(enum metric_outcome o);        /* as the ledger has it too */

#endif
