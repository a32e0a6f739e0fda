/* Counters that one thread adds to and others read. */
#include "gate/metrics.h"

#include <string.h>

static const char *const outcome_names[METRIC_OUTCOMES] = { "ok", "error", "cut", "refused", "cancelled" };

const char *metric_outcome_name(enum metric_outcome o) { return outcome_names[o]; }

void metrics_init(struct metrics *m)
{
    *m = (struct metrics){ .n = 0 };
    arena_init(&m->arena, METRIC_SLOTS * (sizeof(struct metric_slot) + 64));
}

void metrics_free(struct metrics *m) { arena_free(&m->arena); }

static void copy_name(char out[132], str s)
{
    size_t n = s.n < 131 ? s.n : 131;
    memcpy(out, s.p, n);
    out[n] = '\0';
}

static struct metric_slot *find(struct metrics *m, str model, str provider)
{
    size_t n = atomic_load_explicit(&m->n, memory_order_relaxed);
    for (size_t i = 0; i < n; i++)
        if (str_eq(str_of(m->slots[i]->model), model) && str_eq(str_of(m->slots[i]->provider), provider))
            return m->slots[i];
    if (n == METRIC_SLOTS)
        return m->slots[n - 1];
    struct metric_slot *s = arena_new(&m->arena, struct metric_slot, 1);
    if (!s)
        return n ? m->slots[n - 1] : NULL;
    copy_name(s->model, n == METRIC_SLOTS - 1 ? S("other") : model);
    copy_name(s->provider, n == METRIC_SLOTS - 1 ? S("other") : provider);
    m->slots[n] = s;
    atomic_store_explicit(&m->n, n + 1, memory_order_release);      /* readers see a whole slot */
    return s;
}

static void add(atomic_uint_least64_t *c, int64_t v)
{
    if (v > 0)
        atomic_fetch_add_explicit(c, (uint64_t)v, memory_order_relaxed);
}

/* Bounds: first, first * factor, first * factor² … */
static void observe(struct metric_histogram *h, int64_t v, int64_t first, int64_t factor)
{
    size_t i = 0;
    if (v < 0)
        return;
    for (int64_t bound = first; i < METRIC_BUCKETS && v > bound; bound *= factor)
        i++;
    add(&h->bucket[i], 1);
    add(&h->sum, v);
}

void metrics_count(struct metrics *m, const struct model *model, const struct metric_call *c)
{
    struct metric_slot *s = find(m, model ? model->name : S(""), model ? model->provider->name : S(""));
    if (!s)
        return;
    add(&s->outcomes[c->outcome], 1);
    add(&s->tries, c->tries);
    add(&s->cost_micros, c->cost_micros);
    observe(&s->duration, c->total_us, 10000, 2);           /* 0.01 s … 81.92 s */
    observe(&s->first_chunk, c->first_us, 10000, 2);
    observe(&s->input_tokens, c->input_tokens, 1, 4);       /* 1 … 67108864 */
    observe(&s->output_tokens, c->output_tokens, 1, 4);
}

/* ---- writing ---- */

struct total {
    const char *model, *provider;
    struct metric_slot *of[64];         /* one per loop that has it */
    size_t n;
};

static size_t collect(struct metrics *const *loops, size_t n_loops, struct total *out)
{
    size_t n = 0;
    for (size_t l = 0; l < n_loops && l < 64; l++) {
        size_t slots = atomic_load_explicit(&loops[l]->n, memory_order_acquire);
        for (size_t i = 0; i < slots; i++) {
            struct metric_slot *s = loops[l]->slots[i];
            size_t k = 0;
            while (k < n && (strcmp(out[k].model, s->model) != 0 || strcmp(out[k].provider, s->provider) != 0))
                k++;
            if (k == METRIC_SLOTS)
                continue;
            if (k == n)
                out[n++] = (struct total){ .model = s->model, .provider = s->provider };
            out[k].of[out[k].n++] = s;
        }
    }
    return n;
}

static uint64_t sum_at(const struct total *t, size_t offset)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < t->n; i++)
        sum += atomic_load_explicit((atomic_uint_least64_t *)((char *)t->of[i] + offset), memory_order_relaxed);
    return sum;
}

static void put_head(struct buf *b, const char *name, const char *type, const char *help)
{
    (void)buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_labels(struct buf *b, const struct total *t, const char *more)
{
    (void)buf_printf(b, "{gen_ai_provider_name=\"%s\",gen_ai_request_model=\"%s\"%s", t->provider, t->model, more);
}

static const struct series {
    const char *name, *more, *help;     /* help NULL: the same metric as the one before, with other labels */
    size_t offset;
    double first, factor, unit;         /* first 0: a counter */
} series[] = {
#define AT(f) offsetof(struct metric_slot, f)
    { "gen_ai_client_operation_duration_seconds", "", "from a request's head to the end of its answer", AT(duration), 0.01, 2, 1e-6 },
    { "gen_ai_client_operation_time_to_first_chunk_seconds", "", "from the try that answered to its first visible byte", AT(first_chunk), 0.01, 2, 1e-6 },
    { "gen_ai_client_token_usage", ",gen_ai_token_type=\"input\"", "tokens of a call", AT(input_tokens), 1, 4, 1 },
    { "gen_ai_client_token_usage", ",gen_ai_token_type=\"output\"", NULL, AT(output_tokens), 1, 4, 1 },
    { "hearth_calls_total", ",outcome=\"", "calls that have ended", AT(outcomes), 0, 0, 0 },
    { "hearth_tries_total", "", "tries at a model; more than its calls where some were repeated", AT(tries), 0, 0, 1 },
    { "hearth_cost_dollars_total", "", "what answers with a known price have cost", AT(cost_micros), 0, 0, 1e-6 },
};

static void put_histogram(struct buf *b, const struct series *s, const struct total *t)
{
    uint64_t count = 0;
    double bound = s->first;
    for (size_t i = 0; i <= METRIC_BUCKETS; i++) {
        count += sum_at(t, s->offset + offsetof(struct metric_histogram, bucket) + i * sizeof(atomic_uint_least64_t));
        (void)buf_printf(b, "%s_bucket", s->name);
        put_labels(b, t, s->more);
        if (i < METRIC_BUCKETS)
            (void)buf_printf(b, ",le=\"%.10g\"} %llu\n", bound, (unsigned long long)count);
        else
            (void)buf_printf(b, ",le=\"+Inf\"} %llu\n", (unsigned long long)count);
        bound *= s->factor;
    }
    (void)buf_printf(b, "%s_sum", s->name);
    put_labels(b, t, s->more);
    (void)buf_printf(b, "} %.10g\n%s_count", (double)sum_at(t, s->offset + offsetof(struct metric_histogram, sum)) * s->unit, s->name);
    put_labels(b, t, s->more);
    (void)buf_printf(b, "} %llu\n", (unsigned long long)count);
}

static void put_counter(struct buf *b, const struct series *s, const struct total *t)
{
    size_t n = s->unit > 0 ? 1 : METRIC_OUTCOMES;
    for (size_t i = 0; i < n; i++) {
        (void)buf_printf(b, "%s", s->name);
        put_labels(b, t, s->more);
        if (n > 1)
            (void)buf_printf(b, "%s\"", outcome_names[i]);
        (void)buf_printf(b, "} %.10g\n", (double)sum_at(t, s->offset + i * sizeof(atomic_uint_least64_t)) * (n > 1 ? 1 : s->unit));
    }
}

enum err metrics_write(struct arena *scratch, struct buf *b, struct metrics *const *loops, size_t n_loops)
{
    struct total *totals = arena_new(scratch, struct total, METRIC_SLOTS);
    if (!totals)
        return ERR_LIMIT;
    size_t n = collect(loops, n_loops, totals);
    for (size_t k = 0; k < sizeof series / sizeof *series; k++) {
        if (series[k].help)
            put_head(b, series[k].name, series[k].first > 0 ? "histogram" : "counter", series[k].help);
        for (size_t i = 0; i < n; i++) {
            if (series[k].first > 0)
                put_histogram(b, &series[k], &totals[i]);
            else
                put_counter(b, &series[k], &totals[i]);
        }
    }
    return buf_printf(b, "%s", "");
}
