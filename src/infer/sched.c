/* Small tables and loops over them: there are at most 64 runs and a hundred calls that wait. */
#include "infer/sched.h"

#include <math.h>

/* ---- what a step costs ---- */

static size_t size_class(size_t tokens)
{
    size_t i = 0;
    while (tokens > 1 && i + 1 < SCHED_SIZES) {
        tokens >>= 1;
        i++;
    }
    return i;
}

void sched_cost_learn(struct sched_cost *c, size_t tokens, double us)
{
    const double weight = 0.1;
    size_t i = size_class(tokens);
    if (!tokens || us <= 0)
        return;
    if (c->of[i].us <= 0) {
        c->of[i].tokens = (double)tokens;
        c->of[i].us = us;
        return;
    }
    if (us > c->of[i].us * 4)           /* the machine did something else: count it, but not as if it were the rule */
        us = c->of[i].us * 4;
    c->of[i].tokens += ((double)tokens - c->of[i].tokens) * weight;
    c->of[i].us += (us - c->of[i].us) * weight;
}

double sched_cost_us(const struct sched_cost *c, double tokens)
{
    size_t low = SCHED_SIZES, high = SCHED_SIZES;
    for (size_t i = 0; i < SCHED_SIZES; i++) {
        if (c->of[i].us <= 0)
            continue;
        if (c->of[i].tokens <= tokens)
            low = i;
        else if (high == SCHED_SIZES)
            high = i;
    }
    if (low == SCHED_SIZES)             /* a smaller step costs no more than the smallest that was measured */
        return high == SCHED_SIZES ? 0 : c->of[high].us;
    if (high == SCHED_SIZES)            /* a larger one no more than its share */
        return c->of[low].us * tokens / c->of[low].tokens;
    double at = (tokens - c->of[low].tokens) / (c->of[high].tokens - c->of[low].tokens);
    return c->of[low].us + at * (c->of[high].us - c->of[low].us);
}

/* ---- who is next ---- */

static struct sched_caller *caller_find(const struct sched *s, uint64_t id)
{
    for (size_t i = 0; i < s->n_callers; i++)
        if (s->callers[i].id == id)
            return (struct sched_caller *)&s->callers[i];
    return NULL;
}

/* A place for a caller who is not known: a new one, or that of the one who was away longest. NULL: all are here. */
static struct sched_caller *caller_place(struct sched *s)
{
    struct sched_caller *away = NULL;
    if (s->n_callers < SCHED_CALLERS)
        return &s->callers[s->n_callers++];
    for (size_t i = 0; i < s->n_callers; i++)
        if (!s->callers[i].calls && (!away || s->callers[i].used < away->used))
            away = &s->callers[i];
    return away;
}

/* What the least served of those who are here was served. Who comes back does not get the time of their absence. */
static double served_least(const struct sched *s)
{
    double least = INFINITY;
    for (size_t i = 0; i < s->n_callers; i++)
        if (s->callers[i].calls && s->callers[i].served < least)
            least = s->callers[i].served;
    return isinf(least) ? 0 : least;
}

void sched_arrive(struct sched *s, uint64_t caller)
{
    struct sched_caller *c = caller_find(s, caller);
    double least = served_least(s);
    if (!c) {
        c = caller_place(s);
        if (!c)
            return;                     /* more callers at once than are told apart: this one counts as served least */
        *c = (struct sched_caller){ .id = caller };
    }
    if (!c->calls && c->served < least)
        c->served = least;
    c->calls++;
    c->used = ++s->uses;
}

void sched_serve(struct sched *s, uint64_t caller, size_t read, size_t made)
{
    struct sched_caller *c = caller_find(s, caller);
    if (c)
        c->served += (double)read + 2 * (double)made;
}

void sched_leave(struct sched *s, uint64_t caller)
{
    struct sched_caller *c = caller_find(s, caller);
    if (c && c->calls)
        c->calls--;
}

static bool waits_as_batch(const struct sched_wait *w, int64_t now_us) { return w->batch && now_us - w->since_us < SCHED_PATIENCE_US; }

static bool comes_before(const struct sched *s, const struct sched_wait *a, const struct sched_wait *b, int64_t now_us)
{
    bool batch_a = waits_as_batch(a, now_us), batch_b = waits_as_batch(b, now_us);
    if (batch_a != batch_b)
        return batch_b;
    if (a->caller != b->caller) {
        const struct sched_caller *ca = caller_find(s, a->caller), *cb = caller_find(s, b->caller);
        double served_a = ca ? ca->served : 0, served_b = cb ? cb->served : 0;
        if (served_a != served_b)
            return served_a < served_b;
    }
    return a->order < b->order;
}

size_t sched_next(const struct sched *s, const struct sched_wait *w, size_t n, int64_t now_us)
{
    size_t best = n;
    for (size_t i = 0; i < n; i++)
        if (!w[i].held && (best == n || comes_before(s, &w[i], &w[best], now_us)))
            best = i;
    return best;
}

/* ---- what a step holds ---- */

/* Tokens that a run is expected to get out of one step with k guesses: the next one, and each guess if all before it are right. */
static double expected(double chance, size_t k)
{
    double sum = 1, all = 1;
    for (size_t i = 0; i < k; i++)
        sum += all *= chance;
    return sum;
}

/* Takes one guess more wherever that raises the tokens expected for the time expected, until none does. */
static void fill_drafts(const struct sched *s, struct sched_run *runs, size_t n, size_t *tokens, size_t room, size_t outputs)
{
    double gain = 0, now = sched_cost_us(&s->cost, (double)*tokens);
    for (size_t i = 0; i < n; i++)
        gain += runs[i].take ? expected(runs[i].chance, runs[i].take - 1) : 0;
    if (now <= 0)
        return;
    for (size_t i = 0; i < n; i++) {
        struct sched_run *r = &runs[i];
        size_t best = 0, most = r->take ? r->drafts : 0;
        double best_rate = r->all_drafts ? -1 : gain / now;
        most = *tokens + most > room ? room - *tokens : most;
        most = *tokens + most > outputs ? outputs - *tokens : most;
        for (size_t k = r->all_drafts && most ? most : 1; k <= most; k++) {
            double rate = (gain + expected(r->chance, k) - 1) / sched_cost_us(&s->cost, (double)(*tokens + k));
            if (rate > best_rate) {
                best_rate = rate;
                best = k;
            }
        }
        if (!best)
            continue;
        r->take += best;
        *tokens += best;
        gain += expected(r->chance, best) - 1;
        now = sched_cost_us(&s->cost, (double)*tokens);
    }
}

/* Sizes of steps at which a token costs least on the CPU, and how long such a step may take at most to be worth it. (SmolLM2-135M, one thread: 7.3 ms a
 * token in a step of 12, 6.0 in one of 25 or 64.) */
static const struct { size_t tokens; double us; } good_sizes[] = { { SCHED_TILE, 600000 }, { 24, 250000 } };

/* How many tokens of prompts a step may hold beside `tokens` of answers. */
static size_t piece_room(const struct sched *s, size_t tokens, size_t room)
{
    double each = sched_cost_us(&s->cost, SCHED_TILE) / SCHED_TILE;
    size_t all = tokens + (each > 0 ? (size_t)((tokens ? SCHED_STEP_US : SCHED_READ_US) / each) : SCHED_PIECE_FIRST), good = 0;
    for (size_t i = sizeof good_sizes / sizeof *good_sizes; i-- > 0;)
        if (each > 0 && each * (double)good_sizes[i].tokens <= good_sizes[i].us)
            good = good_sizes[i].tokens;
    all = all < good ? good : all;
    all = all > SCHED_TILE ? all - all % SCHED_TILE : all;
    size_t most = all < tokens + SCHED_PIECE_LEAST ? SCHED_PIECE_LEAST : all - tokens;
    return most < room ? most : room;
}

/* A prompt that nobody shares the engine with is read to its end where that is quick: in a tile and a rest, the rest's tokens would cost more than it saves
 * to be ready for a call that may come. (102 tokens, one thread: 0.65 s in one step, 0.73 in two.) */
static size_t only_prompt(const struct sched *s, const struct sched_run *runs, size_t n, size_t most, size_t room)
{
    double us = n == 1 && runs->reads && !runs->held ? sched_cost_us(&s->cost, (double)runs->left) : 0;
    return us > 0 && us <= SCHED_ALONE_US && runs->left > most && runs->left <= room ? runs->left : most;
}

static size_t take_piece(struct sched_run *r, size_t most)
{
    size_t can = r->piece - r->take < most ? r->piece - r->take : most;
    r->take += can;
    return can;
}

static bool reads_now(const struct sched_run *r) { return r->reads && !r->held && r->take < r->piece; }

static struct sched_run *reader(struct sched_run *runs, size_t n, bool oldest)
{
    struct sched_run *best = NULL;
    for (size_t i = 0; i < n; i++) {
        struct sched_run *r = &runs[i];
        if (reads_now(r) && (!best || (oldest || r->left == best->left ? r->order < best->order : r->left < best->left)))
            best = r;
    }
    return best;
}

void sched_fill(struct sched *s, struct sched_run *runs, size_t n, size_t room, size_t outputs)
{
    size_t tokens = 0;
    for (size_t i = 0; i < n; i++) {
        runs[i].take = !runs[i].reads && !runs[i].held && tokens < room;
        tokens += runs[i].take;
    }
    if (tokens)
        fill_drafts(s, runs, n, &tokens, room, outputs);
    size_t pieces = only_prompt(s, runs, n, piece_room(s, tokens, room - tokens), room);
    bool oldest = s->fills++ % 4 == 0;
    for (struct sched_run *r; pieces && (r = reader(runs, n, oldest)); oldest = false)
        pieces -= take_piece(r, pieces);
}

size_t sched_victim(const struct sched_run *runs, size_t n, bool any)
{
    size_t best = n;
    for (size_t i = 0; i < n; i++)
        if (!runs[i].fixed && (any || runs[i].batch) &&
            (best == n || runs[i].batch > runs[best].batch || (runs[i].batch == runs[best].batch && runs[i].order > runs[best].order)))
            best = i;
    return best;
}
