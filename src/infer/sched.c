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

/* The parts of a step, as llama_batch_allocr::split_equal() makes them; how many, which may be more than there is room for. */
static size_t split(const struct sched_run *runs, size_t n, size_t parts[SCHED_PARTS])
{
    size_t left[SCHED_RUNS], n_parts = 0, first = 0;
    for (size_t i = 0; i < n; i++)
        left[i] = runs[i].take;
    while (first < n) {
        size_t end = first, each = left[first];
        for (; end < n && left[end] && runs[end].place - runs[first].place == (int)(end - first); end++)
            each = left[end] < each ? left[end] : each;
        for (size_t i = first; i < end; i++)
            left[i] -= each;
        if (each && n_parts < SCHED_PARTS)
            parts[n_parts] = each * (end - first);
        n_parts += each > 0;
        first += !left[first];
    }
    return n_parts;
}

static size_t parts_of(const struct sched *s, const struct sched_run *runs, size_t n, size_t parts[SCHED_PARTS])
{
    if (s->apart)
        return split(runs, n, parts);
    parts[0] = 0;
    for (size_t i = 0; i < n; i++)
        parts[0] += runs[i].take;
    return parts[0] > 0;
}

static double step_us(const struct sched *s, const struct sched_run *runs, size_t n)
{
    size_t parts[SCHED_PARTS], n_parts = parts_of(s, runs, n, parts);
    double us = 0;
    for (size_t i = 0; i < n_parts && i < SCHED_PARTS; i++)
        us += sched_cost_us(&s->cost, (double)parts[i]);
    return us;
}

void sched_learn(struct sched *s, double us)
{
    double expected = 0, each[SCHED_PARTS];
    if (s->n_parts > SCHED_PARTS)
        return;
    for (size_t i = 0; i < s->n_parts; i++)
        expected += each[i] = sched_cost_us(&s->cost, (double)s->parts[i]);
    for (size_t i = 0; i < s->n_parts; i++)     /* of several, each gets its share of what was measured */
        if (s->n_parts == 1 || expected > 0)
            sched_cost_learn(&s->cost, s->parts[i], s->n_parts == 1 ? us : us * each[i] / expected);
}

/* ---- guesses ---- */

/* What `by` guesses more, or as many as there are, are worth to a run. */
static double worth_more(const struct sched_run *r, size_t by)
{
    size_t had = r->take ? r->take - 1 : 0, has = had + by < r->drafts ? had + by : r->drafts;
    return r->take && !r->reads && r->drafts > had ? r->worth[has] - r->worth[had] : 0;
}

/* Of the runs that have only what they had, the one to which `by` guesses more are worth most. NULL: none. */
static struct sched_run *most_worth(struct sched_run *runs, size_t n, const size_t *had, size_t by)
{
    struct sched_run *best = NULL;
    for (size_t i = 0; i < n; i++)
        if (runs[i].take == had[i] && worth_more(&runs[i], by) > (best ? worth_more(best, by) : 0))
            best = &runs[i];
    return best;
}

static void takes_copy(size_t *to, const struct sched_run *runs, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = runs[i].take;
}

static void takes_set(struct sched_run *runs, const size_t *from, size_t n)
{
    for (size_t i = 0; i < n; i++)
        runs[i].take = from[i];
}

/* What is looked for: as many tokens as possible for the time. `room`: how many guesses may be added. */
struct aim { double gain, rate, read_us; size_t room; };

/* Gives `by` guesses more to one run, to two, and so on, those first to which they are worth most. The best that is found goes to *aim and `best`. */
static void try_more(const struct sched *s, struct sched_run *runs, size_t n, size_t by, const struct aim *now, struct aim *aim, size_t *best)
{
    size_t had[SCHED_RUNS], room = now->room;
    double gain = now->gain;
    takes_copy(had, runs, n);
    for (struct sched_run *r; by <= room && (r = most_worth(runs, n, had, by));) {
        size_t left = r->drafts - (r->take - 1), more = by < left ? by : left;
        gain += worth_more(r, by);
        r->take += more;
        room -= more;
        double us = step_us(s, runs, n) - now->read_us;
        if (us <= 0 || gain / us <= aim->rate)
            continue;
        *aim = (struct aim){ gain, gain / us, now->read_us, room };
        takes_copy(best, runs, n);
    }
    takes_set(runs, had, n);
}

/* Guesses more, wherever that raises the tokens expected for the time expected, until it does not. What prompts cost in the step does not count: they are
 * read anyway. */
static void fill_drafts(const struct sched *s, struct sched_run *runs, size_t n, size_t room)
{
    size_t best[SCHED_RUNS], most = 0;
    struct aim aim = { .room = room, .read_us = step_us(s, runs, n) };
    takes_copy(best, runs, n);
    for (size_t i = 0; i < n; i++) {
        most = runs[i].drafts > most ? runs[i].drafts : most;
        aim.gain += runs[i].take && !runs[i].reads;
        runs[i].take = runs[i].reads ? 0 : runs[i].take;
    }
    double answers_us = step_us(s, runs, n), before = 0;
    takes_set(runs, best, n);
    if (answers_us <= 0)
        return;                         /* nothing was measured: nothing is risked */
    aim.read_us -= answers_us;
    aim.rate = aim.gain / answers_us;
    while (aim.rate > before) {
        struct aim now = aim;
        before = aim.rate;
        for (size_t by = 1; by <= most; by++)
            try_more(s, runs, n, by, &now, &aim, best);
        takes_set(runs, best, n);
    }
}

/* For runs that take all of their guesses, whether they pay or not. Returns what room is left. */
static size_t take_all_drafts(struct sched_run *runs, size_t n, size_t room)
{
    for (size_t i = 0; i < n; i++) {
        if (!runs[i].all_drafts)
            continue;
        size_t more = runs[i].take && !runs[i].reads ? runs[i].drafts : 0;
        more = more < room ? more : room;
        runs[i].take += more;
        runs[i].drafts = 0;
        room -= more;
    }
    return room;
}

/* ---- prompts ---- */

/* Sizes of steps at which a token costs least on the CPU, and how long it may take at most to be worth it. (SmolLM2-135M, one thread: 7.3 ms a token in
 * a step of 12, 6.0 in one of 25 or 64; coder of 0.5B: 20 ms in one of 8, 15 in one of 24, 13 in one of 64.) */
static const size_t good_sizes[] = { SCHED_TILE, 24 };
#define GOOD_US 600000

/* How many tokens of prompts a step may hold beside `tokens` of answers. */
static size_t piece_room(const struct sched *s, size_t tokens, size_t room)
{
    double each = sched_cost_us(&s->cost, SCHED_TILE) / SCHED_TILE;
    size_t all = tokens + (each > 0 ? (size_t)((tokens ? SCHED_STEP_US : SCHED_READ_US) / each) : SCHED_PIECE_FIRST), good = 0;
    for (size_t i = sizeof good_sizes / sizeof *good_sizes; i-- > 0;)
        if (each > 0 && each * (double)good_sizes[i] <= GOOD_US)
            good = good_sizes[i];
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
    outputs = outputs > tokens ? outputs - tokens : 0;
    room -= tokens;
    size_t pieces = only_prompt(s, runs, n, piece_room(s, tokens, room), room);
    bool oldest = s->fills++ % 4 == 0;
    for (struct sched_run *r; pieces && (r = reader(runs, n, oldest)); oldest = false) {
        size_t taken = take_piece(r, pieces);
        pieces -= taken;
        room -= taken;
    }
    room = take_all_drafts(runs, n, room < outputs ? room : outputs);
    fill_drafts(s, runs, n, room);
    s->n_parts = parts_of(s, runs, n, s->parts);
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
