/* The plan, as tables of worlds and what must come of them, and as a machine that runs for simulated hours from a seed. */
#include "fleet/plan.h"

#include "core/rand.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define GB INT64_C(1000000000)
#define NOW 1000000

/* ---- tables: one model is wanted, the others are there ---- */

struct other { int64_t host, device; int at; enum plan_state state; bool stays; int running; int64_t loaded_ago, used_ago; };
#define LOADED PLAN_LOADED, false, 0, 100000

static const struct row {
    const char *what;
    int64_t cap, free, host, device;
    bool on_device, on_host;
    int64_t devices[3];                 /* free; 0: there is none */
    struct other others[4];
    int64_t swapped_ago;                /* 0: never */
    enum plan_verdict verdict;
    int at;
    const char *evicts;                 /* indexes of others */
    int64_t until_in;
    int64_t need, most;                 /* of a refusal */
} rows[] = {
    { "it fits the host", 0, 8 * GB, 3 * GB, 0, false, true, { 0 }, { { 0 } }, 0, PLAN_GO, PLAN_HOST, "", 0, 0, 0 },
    { "it fits under the cap, whatever is free", 4 * GB, GB, 3 * GB, 0, false, true, { 0 }, { { 0 } }, 0, PLAN_GO, PLAN_HOST, "", 0, 0, 0 },
    { "it never fits", 4 * GB, 64 * GB, 5 * GB, 0, false, true, { 0 }, { { 0 } }, 0, PLAN_REFUSE, PLAN_HOST, "", 0, 5 * GB, 4 * GB },
    { "it never fits beside one that stays", 4 * GB, 64 * GB, 3 * GB, 0, false, true, { 0 }, { { 2 * GB, 0, -1, PLAN_LOADED, true, 0, 100000, 0 } }, 0, PLAN_REFUSE, PLAN_HOST, "", 0, 3 * GB, 2 * GB },
    { "the least recently used goes, and one is enough", 6 * GB, 64 * GB, 2 * GB, 0, false, true, { 0 },
      { { 2 * GB, 0, -1, LOADED, 500 }, { 2 * GB, 0, -1, LOADED, 900 }, { 2 * GB, 0, -1, LOADED, 100 } }, 0, PLAN_SWAP, PLAN_HOST, "1", 0, 0, 0 },
    { "an old one that turns out not to be needed stays", 6 * GB, 64 * GB, 3 * GB, 0, false, true, { 0 },
      { { GB, 0, -1, LOADED, 900 }, { 4 * GB, 0, -1, LOADED, 500 } }, 0, PLAN_SWAP, PLAN_HOST, "1", 0, 0, 0 },
    { "two go where one does not suffice", 6 * GB, 64 * GB, 5 * GB, 0, false, true, { 0 },
      { { 2 * GB, 0, -1, LOADED, 900 }, { 3 * GB, 0, -1, LOADED, 500 } }, 0, PLAN_SWAP, PLAN_HOST, "01", 0, 0, 0 },
    { "idle ones go before busy ones, however old", 4 * GB, 64 * GB, 2 * GB, 0, false, true, { 0 },
      { { 2 * GB, 0, -1, PLAN_LOADED, false, 3, 100000, 900 }, { 2 * GB, 0, -1, LOADED, 1 } }, 0, PLAN_SWAP, PLAN_HOST, "1", 0, 0, 0 },
    { "a busy one is asked to end when nothing else helps", 4 * GB, 64 * GB, 3 * GB, 0, false, true, { 0 },
      { { 2 * GB, 0, -1, PLAN_LOADED, false, 3, 100000, 900 } }, 0, PLAN_SWAP, PLAN_HOST, "0", 0, 0, 0 },
    { "one that has just come stays its time", 4 * GB, 64 * GB, 3 * GB, 0, false, true, { 0 }, { { 2 * GB, 0, -1, PLAN_LOADED, false, 0, 4000, 900 } }, 0, PLAN_WAIT, PLAN_HOST, "", 6000, 0, 0 },
    { "another may go in its place", 4 * GB, 64 * GB, 2 * GB, 0, false, true, { 0 },
      { { 2 * GB, 0, -1, PLAN_LOADED, false, 0, 4000, 900 }, { 2 * GB, 0, -1, LOADED, 5 } }, 0, PLAN_SWAP, PLAN_HOST, "1", 0, 0, 0 },
    { "not so soon after the last swap", 4 * GB, 64 * GB, 3 * GB, 0, false, true, { 0 }, { { 2 * GB, 0, -1, LOADED, 900 } }, 12000, PLAN_WAIT, PLAN_HOST, "", 18000, 0, 0 },
    { "the window is over", 4 * GB, 64 * GB, 3 * GB, 0, false, true, { 0 }, { { 2 * GB, 0, -1, LOADED, 900 } }, 30000, PLAN_SWAP, PLAN_HOST, "0", 0, 0, 0 },
    { "room that needs no swap needs no window", 6 * GB, 64 * GB, 3 * GB, 0, false, true, { 0 }, { { 2 * GB, 0, -1, LOADED, 900 } }, 1, PLAN_GO, PLAN_HOST, "", 0, 0, 0 },
    { "one that is leaving makes the room", 4 * GB, 64 * GB, 3 * GB, 0, false, true, { 0 }, { { 2 * GB, 0, -1, PLAN_LEAVING, false, 1, 100000, 900 } }, 0, PLAN_WAIT, PLAN_HOST, "", 0, 0, 0 },
    { "one that is being loaded is waited for", 4 * GB, 64 * GB, 3 * GB, 0, false, true, { 0 }, { { 2 * GB, 0, -1, PLAN_LOADING, false, 0, 0, 0 } }, 0, PLAN_WAIT, PLAN_HOST, "", 0, 0, 0 },
    { "what is being loaded has its room already", 0, 4 * GB, 3 * GB, 0, false, true, { 0 }, { { 2 * GB, 0, -1, PLAN_LOADING, false, 0, 0, 0 } }, 0, PLAN_WAIT, PLAN_HOST, "", 0, 0, 0 },
    { "without a cap the free memory counts, and what others would free", 0, GB, 3 * GB, 0, false, true, { 0 }, { { 2 * GB, 0, -1, LOADED, 900 } }, 0, PLAN_SWAP, PLAN_HOST, "0", 0, 0, 0 },
    { "without a cap, too large", 0, GB, 4 * GB, 0, false, true, { 0 }, { { 2 * GB, 0, -1, LOADED, 900 } }, 0, PLAN_REFUSE, PLAN_HOST, "", 0, 4 * GB, 3 * GB },

    { "the emptier GPU", 0, 64 * GB, GB, 8 * GB, true, false, { 10 * GB, 20 * GB }, { { 0 } }, 0, PLAN_GO, 1, "", 0, 0, 0 },
    { "the GPU where it fits", 0, 64 * GB, GB, 15 * GB, true, false, { 10 * GB, 20 * GB, 12 * GB }, { { 0 } }, 0, PLAN_GO, 1, "", 0, 0, 0 },
    { "a GPU before the host", 0, 64 * GB, GB, 8 * GB, true, true, { 10 * GB }, { { 0 } }, 0, PLAN_GO, 0, "", 0, 0, 0 },
    { "the host where no GPU is large enough", 0, 64 * GB, GB, 80 * GB, true, true, { 10 * GB }, { { 0 } }, 0, PLAN_GO, PLAN_HOST, "", 0, 0, 0 },
    { "an idle model leaves the GPU for it", 0, 64 * GB, GB, 8 * GB, true, true, { 2 * GB }, { { GB, 8 * GB, 0, LOADED, 900 } }, 0, PLAN_SWAP, 0, "0", 0, 0, 0 },
    { "a busy one does not, when the host will do", 0, 64 * GB, GB, 8 * GB, true, true, { 2 * GB }, { { GB, 8 * GB, 0, PLAN_LOADED, false, 1, 100000, 900 } }, 0, PLAN_GO, PLAN_HOST, "", 0, 0, 0 },
    { "who is on another GPU need not go", 0, 64 * GB, GB, 8 * GB, true, false, { 2 * GB, GB }, { { 0, 9 * GB, 1, PLAN_LOADED, false, 2, 100000, 900 }, { 0, 8 * GB, 0, LOADED, 1 } }, 0, PLAN_SWAP, 0, "1", 0, 0, 0 },
    { "no GPU is large enough, and it needs one", 0, 64 * GB, GB, 80 * GB, true, false, { 10 * GB, 20 * GB }, { { 0 } }, 0, PLAN_REFUSE, 1, "", 0, 80 * GB, 20 * GB },
    { "it needs a GPU and there is none", 0, 64 * GB, GB, 8 * GB, true, false, { 0 }, { { 0 } }, 0, PLAN_GO, PLAN_HOST, "", 0, 0, 0 },
    { "the GPU has room, the host has not", 4 * GB, 64 * GB, 3 * GB, 8 * GB, true, false, { 10 * GB }, { { 2 * GB, 0, -1, LOADED, 900 } }, 0, PLAN_SWAP, 0, "0", 0, 0, 0 },
    { "what is being loaded to a GPU counts there", 0, 64 * GB, GB, 8 * GB, true, false, { 10 * GB }, { { GB, 4 * GB, 0, PLAN_LOADING, false, 0, 0, 0 } }, 0, PLAN_WAIT, 0, "", 0, 0, 0 },
};

static void fill(const struct row *r, struct plan_world *w)
{
    *w = (struct plan_world){ .cap = r->cap, .total = 128 * GB, .free = r->free, .now_ms = NOW, .swapped_ms = r->swapped_ago ? NOW - r->swapped_ago : INT64_MIN, .stay_ms = 10000, .window_ms = 30000 };
    for (size_t i = 0; i < 4 && (r->others[i].host || r->others[i].device); i++) {
        const struct other *o = &r->others[i];
        w->models[w->n++] = (struct plan_model){ .host = o->host, .device_host = o->host, .device = o->device, .on_device = o->device > 0, .on_host = true, .state = o->state, .at = o->at, .stays = o->stays,
                                                 .running = o->running, .loaded_ms = NOW - o->loaded_ago, .used_ms = NOW - o->used_ago };
    }
    for (size_t i = 0; i < 3 && r->devices[i]; i++)
        w->devices[w->n_devices++] = (struct plan_device){ .total = 24 * GB, .free = r->devices[i] };
    w->models[w->n++] = (struct plan_model){ .host = r->host, .device_host = r->host, .device = r->device, .on_device = r->on_device, .on_host = r->on_host, .at = PLAN_HOST };
}

static void every_world_has_its_answer(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct row *r = &rows[i];
        struct plan_world w;
        struct plan p;
        char evicts[8] = "", text[300];
        fill(r, &w);
        plan_load(&w, w.n - 1, &p);
        for (size_t k = 0; k < p.n_evict; k++)
            evicts[k] = (char)('0' + p.evict[k]);
        plan_say(&p, text, sizeof text);
        if (p.verdict != r->verdict || p.at != r->at || strcmp(evicts, r->evicts) != 0 || (p.until_ms ? p.until_ms - NOW : 0) != r->until_in ||
            (r->verdict == PLAN_REFUSE && (p.need != r->need || p.most != r->most)))
            fail_msg("%s: verdict %d at %d evicts \"%s\" until %lld: %s", r->what, p.verdict, p.at, evicts, (long long)(p.until_ms ? p.until_ms - NOW : 0), text);
    }
}

static void decisions_are_said_with_their_numbers(void **state)
{
    static const struct { const char *what, *says; } cases[] = {
        { "it fits the host", "it needs 3.0 GB of host memory, of which 8.0 GB are free" },
        { "it never fits", "it needs 5.0 GB of host memory, and no more than 4.0 GB could be had" },
        { "the least recently used goes, and one is enough", "it needs 2.0 GB of host memory, of which 0 B are free: others make room for it" },
        { "one that has just come stays its time", "it needs 3.0 GB of host memory, of which 2.0 GB are free: it waits until those that were loaded before it have had their time" },
        { "not so soon after the last swap", "it needs 3.0 GB of host memory, of which 2.0 GB are free: it waits for its turn, since models were swapped a moment ago" },
        { "no GPU is large enough, and it needs one", "it needs 80 GB of memory of GPU 1, and no more than 20 GB could be had" } };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct plan_world w;
        struct plan p;
        char text[300];
        size_t k = 0;
        while (strcmp(rows[k].what, cases[i].what) != 0)
            k++;
        fill(&rows[k], &w);
        plan_load(&w, w.n - 1, &p);
        plan_say(&p, text, sizeof text);
        assert_string_equal(text, cases[i].says);
    }
}

static void what_is_promised_is_not_given_twice(void **state)
{
    struct plan_world w = { .cap = 6 * GB, .total = 64 * GB, .free = 64 * GB, .now_ms = NOW, .swapped_ms = INT64_MIN, .stay_ms = 10, .window_ms = 30000, .n = 4 };
    struct plan p;
    (void)state;
    w.models[0] = (struct plan_model){ .host = 5 * GB, .on_host = true, .state = PLAN_LOADED, .at = PLAN_HOST, .used_ms = 1 };
    for (int i = 1; i < 4; i++)
        w.models[i] = (struct plan_model){ .host = i == 3 ? GB / 2 : 4 * GB, .on_host = true, .at = PLAN_HOST };
    plan_load(&w, 1, &p);
    assert_int_equal(p.verdict, PLAN_SWAP);
    plan_promise(&w, 1, &p);
    plan_load(&w, 2, &p);               /* the swap of this window is taken, and so is the room */
    assert_int_equal(p.verdict, PLAN_WAIT);
    plan_promise(&w, 2, &p);
    plan_load(&w, 3, &p);               /* a small one may not take what the second waits for */
    assert_int_equal(p.verdict, PLAN_WAIT);
    w.cap = 0;
    plan_load(&w, 3, &p);
    assert_int_equal(p.verdict, PLAN_GO);
}

/* ---- a machine that runs ---- */

enum { KINDS = 4, STEP = 50, HOURS = 2, STAY = 10000, WINDOW = 30000, CALLS = 64 };

struct sim {
    struct plan_world w;
    int64_t ready_at[KINDS];            /* of one that is being loaded */
    int64_t waiting[KINDS][CALLS], ends[KINDS][CALLS];
    int n_waiting[KINDS], n_running[KINDS];
    int64_t longest, swaps, last_swap, served;
};

static void arrive(struct sim *s, int k)
{
    if (s->n_waiting[k] < CALLS)
        s->waiting[k][s->n_waiting[k]++] = s->w.now_ms;
}

static void serve(struct sim *s, int k, int64_t takes)
{
    struct plan_model *m = &s->w.models[k];
    while (m->state == PLAN_LOADED && s->n_waiting[k] && s->n_running[k] < CALLS) {
        int64_t waited = s->w.now_ms - s->waiting[k][0];
        s->longest = waited > s->longest ? waited : s->longest;
        memmove(s->waiting[k], s->waiting[k] + 1, sizeof s->waiting[k][0] * (size_t)--s->n_waiting[k]);
        s->ends[k][s->n_running[k]++] = s->w.now_ms + takes;
        m->used_ms = s->w.now_ms;
        s->served++;
    }
    for (int i = 0; i < s->n_running[k];)
        if (s->ends[k][i] <= s->w.now_ms) {
            s->ends[k][i] = s->ends[k][--s->n_running[k]];
            m->used_ms = s->w.now_ms;
        } else
            i++;
    m->running = s->n_running[k];
    if (m->state == PLAN_LEAVING && !m->running)
        m->state = PLAN_OFF;
    if (m->state == PLAN_LOADING && s->ready_at[k] <= s->w.now_ms) {
        m->state = PLAN_LOADED;
        m->loaded_ms = m->used_ms = s->w.now_ms;
    }
}

/* As the keeper does: the model whose first call has waited longest comes first, and what it is promised is gone for the others. */
static void decide(struct sim *s, int64_t load_ms)
{
    struct plan_world w = s->w;
    bool done[KINDS] = { false };
    for (;;) {
        int first = -1;
        for (int k = 0; k < KINDS; k++)
            if (!done[k] && s->w.models[k].state == PLAN_OFF && s->n_waiting[k] && (first < 0 || s->waiting[k][0] < s->waiting[first][0]))
                first = k;
        if (first < 0)
            return;
        struct plan p;
        done[first] = true;
        plan_load(&w, (size_t)first, &p);
        plan_promise(&w, (size_t)first, &p);
        assert_int_not_equal(p.verdict, PLAN_REFUSE);
        if (p.verdict == PLAN_GO) {
            s->w.models[first].state = PLAN_LOADING;
            s->ready_at[first] = s->w.now_ms + load_ms;
        } else if (p.verdict == PLAN_SWAP) {
            assert_true(s->w.swapped_ms == INT64_MIN || s->w.now_ms - s->w.swapped_ms >= WINDOW);
            s->w.swapped_ms = s->w.now_ms;
            s->swaps++;
            for (size_t i = 0; i < p.n_evict; i++)
                s->w.models[p.evict[i]].state = PLAN_LEAVING;
        }
    }
}

static void check(const struct sim *s)
{
    int64_t used = 0;
    for (int k = 0; k < KINDS; k++) {
        const struct plan_model *m = &s->w.models[k];
        used += m->state != PLAN_OFF ? m->host : 0;
        assert_true(m->state != PLAN_OFF || m->running == 0);
    }
    assert_true(used <= s->w.cap);
}

static void nobody_starves_and_nothing_thrashes(void **state)
{
    static struct sim s;
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct rng r = rand_seeded(seed);
        int64_t load_ms = 500 + (int64_t)(rand_unit(&r) * 8000), takes = 20 + (int64_t)(rand_unit(&r) * 4000);
        double often = 0.02 + rand_unit(&r) * 0.5;
        s = (struct sim){ .w = { .cap = 6 * GB, .total = 64 * GB, .free = 64 * GB, .swapped_ms = INT64_MIN, .stay_ms = STAY, .window_ms = WINDOW, .n = KINDS } };
        for (int k = 0; k < KINDS; k++)
            s.w.models[k] = (struct plan_model){ .host = (k % 2 ? 4 : 3) * GB, .on_host = true, .at = PLAN_HOST };
        int64_t end = HOURS * INT64_C(3600000);
        for (s.w.now_ms = 0; s.w.now_ms < end; s.w.now_ms += STEP) {
            for (int k = 0; k < KINDS; k++)
                if (rand_unit(&r) < often)
                    arrive(&s, k);
            for (int k = 0; k < KINDS; k++)
                serve(&s, k, takes);
            decide(&s, load_ms);
            check(&s);
        }
        /* In the worst case all others come first, each with a window, its load, its stay and the calls that it still has. */
        int64_t turn = WINDOW + STAY + load_ms + takes + 2 * STEP;
        if (s.longest > KINDS * turn || s.swaps > end / WINDOW + 1 || s.served < 1000)
            fail_msg("seed %llu: longest wait %lld ms of %lld, %lld swaps, %lld served", (unsigned long long)seed, (long long)s.longest, (long long)(KINDS * turn), (long long)s.swaps, (long long)s.served);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_world_has_its_answer),
        cmocka_unit_test(decisions_are_said_with_their_numbers),
        cmocka_unit_test(what_is_promised_is_not_given_twice),
        cmocka_unit_test(nobody_starves_and_nothing_thrashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
