/* The ledger: the chain, tampering, a second writer, private bodies, retention, failing disks. */
#include "ledger/ledger.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/stat.h>

#include <cmocka.h>
#include <sqlite3.h>

struct world {
    char dir[64], path[96], why[256];
    struct ledger_options o;
    struct ledger *l;
    struct ledger_port port;
    int ok, bad;
    int64_t last_seq, tokens;           /* tokens: of the next answer, which takes half a second after its first */
    bool whole;                         /* … and is not streamed */
    size_t shape;                       /* bit set: which of some more fields the next row has */
};

static void no_wake(void *ctx) { (void)ctx; }

static void on_done(struct ledger_entry *e, enum err err, int64_t seq)
{
    struct world *w = e->ctx;
    w->ok += err == ERR_OK;
    w->bad += err != ERR_OK;
    w->last_seq = seq;
    free(e);
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    snprintf(w->dir, sizeof w->dir, "/tmp/hearth-ledger-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    snprintf(w->path, sizeof w->path, "%s/l.db", w->dir);
    ledger_options_default(&w->o, w->path);
    ledger_port_init(&w->port, no_wake, w);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    char cmd[128];
    ledger_port_destroy(&w->port);
    snprintf(cmd, sizeof cmd, "rm -rf %s", w->dir);
    assert_int_equal(system(cmd), 0);
    free(w);
    return 0;
}

static void start(struct world *w)
{
    if (ledger_open(&w->o, &w->l, w->why) != ERR_OK)
        fail_msg("%s", w->why);
}

/* One row, written before this returns. */
static enum err put(struct world *w, enum row_kind kind, const char *call, str request, str response, bool private)
{
    struct ledger_entry *e = calloc(1, sizeof *e);
    static str slices[2];
    int before = w->ok + w->bad, bad = w->bad;
    enum err err = ledger_reserve(w->l, 1);
    if (err) {
        free(e);
        return err;
    }
    slices[0] = request;
    slices[1] = response;
    *e = (struct ledger_entry){ .port = &w->port, .on_done = on_done, .ctx = w, .private = private };
    row_init(&e->row, kind);
    e->row.at_us = clock_wall_us(&w->o.clock);
    e->row.call_id = str_of(call);
    e->row.attempt = 1;
    e->row.outcome = kind == ROW_END ? S("ok") : STR_NONE;
    e->row.temperature = 0.1;
    e->row.model = S("tiny");
    if (kind == ROW_END && w->tokens) {
        e->row.output_tokens = w->tokens;
        e->row.stream = !w->whole;
        e->row.overhead_us = 1000;
        e->row.first_us = 99000;
        e->row.total_us = 600000;
    }
    int64_t *some[] = { &e->row.seed, &e->row.top_k, &e->row.max_tokens, &e->row.choices, &e->row.http_status, &e->row.cost_micros, &e->row.client_retry };
    for (size_t i = 0; i < sizeof some / sizeof *some; i++)
        if (w->shape >> i & 1)
            *some[i] = (int64_t)(w->shape * 10 + i);
    if (request.n)
        e->request = (struct ledger_body){ &slices[0], 1 };
    if (response.n)
        e->response = (struct ledger_body){ &slices[1], 1 };
    ledger_submit(w->l, e);
    ledger_flush(w->l);
    while (w->ok + w->bad == before) {
        ledger_collect(&w->port);
        usleep(200);
    }
    return w->bad > bad ? ERR_STORE : ERR_OK;
}

static struct ledger_verdict verify(struct world *w)
{
    struct ledger_reader *r;
    struct ledger_verdict v;
    assert_int_equal(ledger_reader_open(w->path, &r, w->why), ERR_OK);
    assert_int_equal(ledger_verify(r, NULL, NULL, &v), ERR_OK);
    ledger_reader_close(r);
    return v;
}

static bool count(void *ctx, const struct ledger_seen *s)
{
    (void)s;
    (*(int *)ctx)++;
    return true;
}

static void rows_come_back_as_they_were_written_and_the_chain_is_sound(void **state)
{
    struct world *w = *state;
    start(w);
    for (int i = 0; i < 20; i++) {
        char id[16];
        snprintf(id, sizeof id, "c%d", i);
        assert_int_equal(put(w, ROW_INTENT, id, STR_NONE, STR_NONE, false), ERR_OK);
        if (i < 18)
            assert_int_equal(put(w, ROW_END, id, S("{\"a\":1}"), S("answer"), false), ERR_OK);
    }
    ledger_close(w->l);
    struct ledger_verdict v = verify(w);
    assert_int_equal(v.bad_seq, 0);
    assert_int_equal(v.rows, 38);
    assert_int_equal(v.cut, 2);
    assert_int_equal(v.bodies, 36);
    struct ledger_reader *r;
    int n = 0;
    assert_int_equal(ledger_reader_open(w->path, &r, w->why), ERR_OK);
    assert_int_equal(ledger_read(r, &(struct ledger_filter){ .call_id = S("c3") }, count, &n), ERR_OK);
    assert_int_equal(n, 1);
    n = 0;
    assert_int_equal(ledger_read(r, &(struct ledger_filter){ .outcome = S("cut") }, count, &n), ERR_OK);
    assert_int_equal(n, 2);
    ledger_reader_close(r);
}

static bool check_shape(void *ctx, const struct ledger_seen *s)
{
    const int64_t some[] = { s->row.seed, s->row.top_k, s->row.max_tokens, s->row.choices, s->row.http_status, s->row.cost_micros, s->row.client_retry };
    size_t shape = strtoul(s->row.call_id.p, NULL, 10);
    for (size_t i = 0; i < sizeof some / sizeof *some; i++)
        assert_int_equal(some[i], shape >> i & 1 ? (int64_t)(shape * 10 + i) : ROW_NULL_I);
    (*(int *)ctx)++;
    return true;
}

/* More sets of fields than there are statements kept, each at several times. */
static void rows_of_every_set_of_fields_come_back(void **state)
{
    struct world *w = *state;
    struct ledger_reader *r;
    int n = 0;
    start(w);
    for (size_t i = 0; i < 600; i++) {
        char id[16];
        w->shape = i < 300 ? i * 37 % 128 : i % 7;
        snprintf(id, sizeof id, "%zu", w->shape);
        assert_int_equal(put(w, ROW_INTENT, id, STR_NONE, STR_NONE, false), ERR_OK);
    }
    ledger_close(w->l);
    assert_int_equal(ledger_reader_open(w->path, &r, w->why), ERR_OK);
    assert_int_equal(ledger_read(r, &(struct ledger_filter){ .limit = 1000, .kinds = 1u << ROW_INTENT }, check_shape, &n), ERR_OK);
    assert_int_equal(n, 600);
    ledger_reader_close(r);
    assert_int_equal(verify(w).bad_seq, 0);
}

struct answers { int n; double last; int64_t at; };

static void on_answer(void *ctx, const struct ledger_answer *a)
{
    struct answers *all = ctx;
    assert_true(str_eq(a->model, S("tiny")) && !a->has_fingerprint);
    assert_true(all->at == 0 || a->at_us <= all->at);
    all->at = a->at_us;
    all->last = a->tokens_per_second;
    all->n++;
}

static void answers_are_told_newest_first_with_their_speed(void **state)
{
    struct world *w = *state;
    struct ledger_reader *r;
    struct answers all = { .n = 0 };
    start(w);
    w->tokens = 11;
    assert_int_equal(put(w, ROW_END, "fast", STR_NONE, STR_NONE, false), ERR_OK);
    w->whole = true;
    assert_int_equal(put(w, ROW_END, "whole", STR_NONE, STR_NONE, false), ERR_OK);
    w->tokens = 0;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(put(w, ROW_INTENT, "later", STR_NONE, STR_NONE, false), ERR_OK);
        assert_int_equal(put(w, ROW_END, i ? "later" : "other", STR_NONE, STR_NONE, false), ERR_OK);
    }
    ledger_close(w->l);
    assert_int_equal(ledger_reader_open(w->path, &r, w->why), ERR_OK);
    assert_int_equal(ledger_read_answers(r, 100, on_answer, &all), ERR_OK);
    assert_int_equal(all.n, 5);
    assert_true(all.last > 19.99 && all.last < 20.01);       /* the oldest: 10 tokens after the first in half a second */
    all = (struct answers){ .n = 0 };
    assert_int_equal(ledger_read_answers(r, 4, on_answer, &all), ERR_OK);
    assert_int_equal(all.n, 4);
    assert_true(all.last <= 0);                             /* it came as one piece, so its tokens have no speed */
    ledger_reader_close(r);
}

static void a_change_of_any_column_is_found_in_the_first_bad_row(void **state)
{
    static const struct { const char *sql; int64_t seq; } changes[] = {
        { "UPDATE row SET outcome = 'error' WHERE seq = 4", 4 }, { "UPDATE row SET temperature = 0.2 WHERE seq = 3", 3 }, { "UPDATE row SET at_us = at_us + 1 WHERE seq = 5", 5 },
        { "UPDATE row SET model = NULL WHERE seq = 2", 2 }, { "DELETE FROM row WHERE seq = 3", 4 }, { "UPDATE row SET request_hash = zeroblob(32) WHERE seq = 6", 6 },
        { "UPDATE row SET hash = zeroblob(32) WHERE seq = 2", 2 }, { "UPDATE body SET data = (SELECT data FROM body WHERE id = 2), size = size WHERE id = 1", 2 },
        { "UPDATE row SET kind = 1 WHERE seq = 1", 1 },
    };
    struct world *w = *state;
    start(w);
    for (int i = 0; i < 3; i++) {
        char id[16];
        snprintf(id, sizeof id, "c%d", i);
        put(w, ROW_INTENT, id, STR_NONE, STR_NONE, false);
        put(w, ROW_END, id, S("question"), S("answer"), false);
    }
    ledger_close(w->l);
    assert_int_equal(verify(w).bad_seq, 0);
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        char cmd[256];
        sqlite3 *db;
        snprintf(cmd, sizeof cmd, "cp %s %s.keep", w->path, w->path);
        assert_int_equal(system(cmd), 0);
        assert_int_equal(sqlite3_open(w->path, &db), SQLITE_OK);
        assert_int_equal(sqlite3_exec(db, changes[i].sql, NULL, NULL, NULL), SQLITE_OK);
        sqlite3_close(db);
        if (verify(w).bad_seq != changes[i].seq)
            fail_msg("%s: row %lld, not %lld", changes[i].sql, (long long)verify(w).bad_seq, (long long)changes[i].seq);
        snprintf(cmd, sizeof cmd, "mv %s.keep %s", w->path, w->path);
        assert_int_equal(system(cmd), 0);
    }
}

static void a_second_end_is_found(void **state)
{
    struct world *w = *state;
    start(w);
    put(w, ROW_END, "c", STR_NONE, STR_NONE, false);
    put(w, ROW_END, "c", STR_NONE, STR_NONE, false);
    ledger_close(w->l);
    assert_int_equal(verify(w).bad_seq, 2);
}

static void a_second_writer_is_told_who_the_first_is(void **state)
{
    struct world *w = *state;
    struct ledger *other;
    char pid[32];
    start(w);
    assert_int_equal(ledger_open(&w->o, &other, w->why), ERR_BUSY);
    snprintf(pid, sizeof pid, "process %d", getpid());
    assert_non_null(strstr(w->why, pid));
    ledger_close(w->l);
    start(w);
    ledger_close(w->l);
}

struct feet { int n; char facts[64]; struct digest key; };

static void each_foot(void *ctx, const struct digest *key, str facts)
{
    struct feet *f = ctx;
    f->n++;
    f->key = *key;
    snprintf(f->facts, sizeof f->facts, "%.*s", STR_ARG(facts));
}

static void the_last_measure_of_a_model_is_kept_and_every_one_is_a_row(void **state)
{
    struct world *w = *state;
    struct digest key = sha256_of(S("how"));
    struct ledger_reader *r;
    struct feet f = { .n = 0 };
    struct ledger_filter events = { .kinds = 1u << ROW_EVENT };
    int n = 0;
    start(w);
    assert_int_equal(ledger_note_footprint(w->l, &key, S("{\"host\":1}")), ERR_OK);
    assert_int_equal(ledger_note_footprint(w->l, &key, S("{\"host\":2}")), ERR_OK);
    ledger_close(w->l);
    assert_int_equal(ledger_reader_open(w->path, &r, w->why), ERR_OK);
    assert_int_equal(ledger_read_footprints(r, each_foot, &f), ERR_OK);
    assert_int_equal(f.n, 1);
    assert_string_equal(f.facts, "{\"host\":2}");
    assert_true(digest_eq(&f.key, &key));
    assert_int_equal(ledger_read(r, &events, count, &n), ERR_OK);
    assert_int_equal(n, 2);
    ledger_reader_close(r);
    assert_int_equal(verify(w).bad_seq, 0);
}

static void private_bodies_need_the_key(void **state)
{
    struct world *w = *state;
    struct ledger_reader *r;
    struct arena a;
    char cmd[256];
    bool cut;
    str body;
    arena_init(&a, 1 << 20);
    start(w);
    put(w, ROW_END, "c", S("my name is Ada"), STR_NONE, true);
    ledger_close(w->l);
    assert_int_equal(verify(w).bodies, 1);
    snprintf(cmd, sizeof cmd, "grep -q Ada %s", w->path);
    assert_int_not_equal(system(cmd), 0);
    assert_int_equal(ledger_reader_open(w->path, &r, w->why), ERR_OK);
    assert_int_equal(ledger_read_body(r, &a, 1, &body, &cut), ERR_OK);
    assert_true(str_eq(body, S("my name is Ada")));
    snprintf(cmd, sizeof cmd, "%s.key", w->path);
    struct stat st;
    assert_true(stat(cmd, &st) == 0 && (st.st_mode & 077) == 0);
    unlink(cmd);
    assert_int_equal(ledger_read_body(r, &a, 1, &body, &cut), ERR_FORBIDDEN);
    ledger_reader_close(r);
    assert_int_equal(verify(w).bad_seq, 0);
    arena_free(&a);
}

/* ---- retention ---- */

static _Atomic int64_t fake_us, wrong_us;       /* wrong: by how much the wall clock is */
static int64_t fake_mono(void *ctx) { (void)ctx; return fake_us; }
static int64_t fake_wall(void *ctx) { (void)ctx; return INT64_C(1700000000000000) + fake_us + wrong_us; }

static int64_t size_of(const char *path, const char *end)
{
    char name[128];
    struct stat st;
    snprintf(name, sizeof name, "%s%s", path, end);
    return stat(name, &st) == 0 ? st.st_size : 0;
}

/* Incompressible. */
static str noise(struct rng *r, char *to, size_t n)
{
    r->fill(r, to, n);
    return (str){ to, n };
}

static void file_and_log_stay_within_their_limits_under_load(void **state)
{
    enum { CALLS = 1500, KEPT = 150, BODY = 32 << 10, HARD = 4 << 20, MiB = 1 << 20 };
    struct world *w = *state;
    static char question[BODY], answer[BODY];
    struct rng r = rand_system();
    int64_t most = 0, log = 0, live = (int64_t)(KEPT + 60) * 2 * BODY;       /* it looks once in 60 s, and a call comes once in one */
    w->o.clock = (struct clock){ fake_mono, fake_wall, NULL };
    w->o.retain_ms = KEPT * 1000;
    w->o.wal_soft = 1 << 20;
    w->o.wal_hard = HARD;
    start(w);
    for (int i = 0; i < CALLS; i++) {
        char id[16];
        snprintf(id, sizeof id, "c%d", i);
        fake_us += 1000000;
        assert_int_equal(put(w, ROW_END, id, noise(&r, question, BODY), noise(&r, answer, BODY), false), ERR_OK);
        most = size_of(w->path, "") > most ? size_of(w->path, "") : most;
        log = size_of(w->path, "-wal") > log ? size_of(w->path, "-wal") : log;
    }
    /* 94 MiB went in. What may be there: what is kept, as much again while it is being erased, free pages, and the rows. */
    if (most > live * 3 / 2 + 8 * MiB || log > 2 * HARD + 4 * MiB)
        fail_msg("the file had %lld MiB, its log %lld", (long long)most / MiB, (long long)log / MiB);
    print_message("file at most %lld KiB, its log %lld KiB\n", (long long)most >> 10, (long long)log >> 10);
    fake_us += INT64_C(3600000000);
    for (int i = 0; i < 200 && (verify(w).bodies || size_of(w->path, "") > 8 * MiB); i++) {
        assert_int_equal(put(w, ROW_INTENT, "wake", STR_NONE, STR_NONE, false), ERR_OK);
        usleep(50000);
    }
    assert_in_range(size_of(w->path, ""), 1, 8 * MiB);
    ledger_close(w->l);
    struct ledger_verdict v = verify(w);
    assert_int_equal(v.bad_seq, 0);
    assert_int_equal(v.ends, CALLS);
    assert_int_equal(v.bodies, 0);
}

static void large_bodies_are_erased_one_after_the_other(void **state)
{
    enum { N = 24, BODY = 2 << 20, HARD = 4 << 20 };
    struct world *w = *state;
    struct rng r = rand_system();
    char *text = malloc(BODY);
    int64_t log = 0;
    assert_non_null(text);
    w->o.clock = (struct clock){ fake_mono, fake_wall, NULL };
    w->o.retain_ms = 1000;
    w->o.wal_soft = 1 << 20;
    w->o.wal_hard = HARD;
    start(w);
    for (int i = 0; i < N; i++)
        assert_int_equal(put(w, ROW_END, "c", noise(&r, text, BODY), STR_NONE, false), ERR_OK);
    ledger_close(w->l);                 /* its log ends with it */
    fake_us += INT64_C(100000000);
    start(w);
    for (int i = 0; i < 2000 && size_of(w->path, "") > (8 << 20); i++) {
        log = size_of(w->path, "-wal") > log ? size_of(w->path, "-wal") : log;
        if (i % 50 == 0)
            assert_int_equal(put(w, ROW_INTENT, "wake", STR_NONE, STR_NONE, false), ERR_OK);
        usleep(2000);
    }
    ledger_close(w->l);
    free(text);
    assert_int_equal(verify(w).bodies, 0);
    assert_in_range(size_of(w->path, ""), 1, 8 << 20);
    if (log > 2 * HARD + 2 * BODY + (4 << 20))
        fail_msg("the log had %lld MiB", (long long)log >> 20);
}

static void a_clock_that_was_wrong_erases_nothing_early_and_blocks_nothing(void **state)
{
    struct world *w = *state;
    w->o.clock = (struct clock){ fake_mono, fake_wall, NULL };
    w->o.retain_ms = 600 * 1000;
    start(w);
    wrong_us = INT64_C(400000000000);           /* five days ahead */
    put(w, ROW_END, "ahead", S("a"), S("b"), false);
    wrong_us = 0;
    put(w, ROW_END, "old", S("a"), S("b"), false);
    fake_us += INT64_C(500000000);
    put(w, ROW_END, "fresh", S("a"), S("b"), false);
    fake_us += INT64_C(200000000);              /* now the second is too old, and the third is not */
    put(w, ROW_INTENT, "wake", STR_NONE, STR_NONE, false);
    put(w, ROW_INTENT, "wake", STR_NONE, STR_NONE, false);
    ledger_close(w->l);
    struct ledger_reader *r;
    struct arena a;
    bool cut;
    str body;
    arena_init(&a, 1 << 20);
    assert_int_equal(ledger_reader_open(w->path, &r, w->why), ERR_OK);
    static const enum err want[] = { ERR_OK, ERR_OK, ERR_NOTFOUND, ERR_NOTFOUND, ERR_OK, ERR_OK };
    for (int64_t id = 1; id <= 6; id++)
        assert_int_equal(ledger_read_body(r, &a, id, &body, &cut), want[id - 1]);
    ledger_reader_close(r);
    arena_free(&a);
}

static void what_is_old_behind_what_is_fresh_is_found_too(void **state)
{
    struct world *w = *state;
    int64_t left = 99;
    w->o.clock = (struct clock){ fake_mono, fake_wall, NULL };
    w->o.retain_ms = 600 * 1000;
    start(w);
    for (int i = 0; i < 300; i++)           /* more than one look sees */
        put(w, ROW_END, "fresh", S("a"), STR_NONE, false);
    wrong_us = INT64_C(-4000000000);
    put(w, ROW_END, "past", S("a"), STR_NONE, false);
    wrong_us = 0;
    for (int i = 0; i < 4; i++) {
        fake_us += 61000000;
        put(w, ROW_INTENT, "wake", STR_NONE, STR_NONE, false);
        usleep(20000);
        left = verify(w).bodies;
    }
    ledger_close(w->l);
    assert_int_equal(left, 300);
}

static void a_newer_or_foreign_file_is_refused(void **state)
{
    struct world *w = *state;
    sqlite3 *db;
    start(w);
    ledger_close(w->l);
    sqlite3_open(w->path, &db);
    sqlite3_exec(db, "PRAGMA user_version = 99", NULL, NULL, NULL);
    sqlite3_close(db);
    assert_int_equal(ledger_open(&w->o, &w->l, w->why), ERR_STORE);
    assert_non_null(strstr(w->why, "newer hearth"));
    unlink(w->path);
    sqlite3_open(w->path, &db);
    sqlite3_exec(db, "CREATE TABLE x (y)", NULL, NULL, NULL);
    sqlite3_close(db);
    assert_int_equal(ledger_open(&w->o, &w->l, w->why), ERR_STORE);
    assert_non_null(strstr(w->why, "not a ledger"));
    unlink(w->path);
    FILE *f = fopen(w->path, "w");      /* no database at all */
    fputs("This is a text, and long enough to be looked at as the head of a database, which has one hundred bytes of its own.", f);
    fclose(f);
    assert_int_equal(ledger_open(&w->o, &w->l, w->why), ERR_STORE);
    assert_non_null(strstr(w->why, "not a database"));
    unlink(w->path);
    assert_int_equal(mkdir(w->path, 0700), 0);
    assert_int_equal(ledger_open(&w->o, &w->l, w->why), ERR_STORE);
    assert_non_null(strstr(w->why, "cannot be opened"));
}

/* ---- erasing ---- */

static int64_t ask_int(struct world *w, const char *sql)
{
    sqlite3 *db;
    sqlite3_stmt *q;
    assert_int_equal(sqlite3_open(w->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &q, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(q), SQLITE_ROW);
    int64_t v = sqlite3_column_int64(q, 0);
    sqlite3_finalize(q);
    sqlite3_close(db);
    return v;
}

#define BODIES_OF(call) "SELECT count(*) FROM row JOIN body ON id IN (request_body, response_body) WHERE call_id = '" call "'"

static void the_id_of_an_erased_body_is_never_given_to_another(void **state)
{
    struct world *w = *state;
    start(w);
    assert_int_equal(put(w, ROW_END, "first", S("question"), S("answer"), false), ERR_OK);
    assert_int_equal(ledger_erase(w->l, &(struct ledger_erase){ .call = S("first") }, S("t")), ERR_OK);
    assert_int_equal(put(w, ROW_END, "second", S("another question"), S("another answer"), false), ERR_OK);
    assert_int_equal(ask_int(w, BODIES_OF("first")), 0);
    assert_int_equal(ask_int(w, BODIES_OF("second")), 2);
    assert_int_equal(ledger_erase(w->l, &(struct ledger_erase){ .call = S("second") }, S("t")), ERR_OK);
    ledger_close(w->l);
    start(w);                           /* also not by a process that never saw them */
    assert_int_equal(put(w, ROW_END, "third", S("a third question"), STR_NONE, false), ERR_OK);
    assert_int_equal(ask_int(w, BODIES_OF("first")) + ask_int(w, BODIES_OF("second")), 0);
    assert_int_equal(ledger_erase(w->l, &(struct ledger_erase){ .call = S("first") }, S("t")), ERR_OK);
    ledger_close(w->l);
    assert_int_equal(ask_int(w, BODIES_OF("third")), 1);
    struct ledger_verdict v = verify(w);
    if (v.bad_seq)
        fail_msg("%s", v.what);
    assert_int_equal(v.bodies, 1);
}

/* ---- a disk that fails: a shim over the system's VFS ---- */

static struct { int left; int mode; int hits; } fault = { -1, 0, 0 };     /* writes until the fault; -1: none */
enum { FULL, IOERR, TORN };

struct shim { sqlite3_file base; sqlite3_file *real; };
static sqlite3_vfs shim_vfs, *real_vfs;
static sqlite3_io_methods shim_methods;

static int shim_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
    sqlite3_file *real = ((struct shim *)f)->real;
    if (__atomic_load_n(&fault.left, __ATOMIC_SEQ_CST) < 0)
        return real->pMethods->xWrite(real, p, n, at);
    if (__atomic_fetch_sub(&fault.left, 1, __ATOMIC_SEQ_CST) > 0)
        return real->pMethods->xWrite(real, p, n, at);
    __atomic_store_n(&fault.left, 0, __ATOMIC_SEQ_CST);         /* and every later one, until it is switched off */
    __atomic_fetch_add(&fault.hits, 1, __ATOMIC_SEQ_CST);
    if (fault.mode == TORN)
        (void)real->pMethods->xWrite(real, p, n / 2, at);
    return fault.mode == FULL ? SQLITE_FULL : SQLITE_IOERR_WRITE;
}

#define REAL(f) (((struct shim *)(f))->real)
#define PASS(name, params, args) static int shim_##name params { return REAL(f)->pMethods->x##name args; }
PASS(Read, (sqlite3_file *f, void *p, int n, sqlite3_int64 at), (REAL(f), p, n, at))
PASS(Truncate, (sqlite3_file *f, sqlite3_int64 n), (REAL(f), n))
PASS(Sync, (sqlite3_file *f, int flags), (REAL(f), flags))
PASS(FileSize, (sqlite3_file *f, sqlite3_int64 *n), (REAL(f), n))
PASS(Lock, (sqlite3_file *f, int l), (REAL(f), l))
PASS(Unlock, (sqlite3_file *f, int l), (REAL(f), l))
PASS(CheckReservedLock, (sqlite3_file *f, int *out), (REAL(f), out))
PASS(FileControl, (sqlite3_file *f, int op, void *arg), (REAL(f), op, arg))
PASS(SectorSize, (sqlite3_file *f), (REAL(f)))
PASS(DeviceCharacteristics, (sqlite3_file *f), (REAL(f)))
PASS(ShmMap, (sqlite3_file *f, int pg, int size, int extend, void volatile **out), (REAL(f), pg, size, extend, out))
PASS(ShmLock, (sqlite3_file *f, int at, int n, int flags), (REAL(f), at, n, flags))
PASS(ShmUnmap, (sqlite3_file *f, int del), (REAL(f), del))
static void shim_ShmBarrier(sqlite3_file *f) { REAL(f)->pMethods->xShmBarrier(REAL(f)); }
static int shim_Close(sqlite3_file *f)
{
    int rc = REAL(f)->pMethods->xClose(REAL(f));
    free(REAL(f));
    return rc;
}

static int shim_open(sqlite3_vfs *v, const char *name, sqlite3_file *f, int flags, int *out)
{
    struct shim *s = (struct shim *)f;
    (void)v;
    s->base.pMethods = NULL;
    s->real = calloc(1, (size_t)real_vfs->szOsFile);
    int rc = real_vfs->xOpen(real_vfs, name, s->real, flags, out);
    if (rc == SQLITE_OK)
        s->base.pMethods = &shim_methods;
    else
        free(s->real);
    return rc;
}

static void install(void)
{
    if (real_vfs)
        return;
    real_vfs = sqlite3_vfs_find(NULL);
    shim_vfs = *real_vfs;
    shim_vfs.zName = "faulty";
    shim_vfs.szOsFile = sizeof(struct shim);
    shim_vfs.xOpen = shim_open;
    shim_methods = (sqlite3_io_methods){ 2, shim_Close, shim_Read, shim_write, shim_Truncate, shim_Sync, shim_FileSize, shim_Lock, shim_Unlock, shim_CheckReservedLock,
                                         shim_FileControl, shim_SectorSize, shim_DeviceCharacteristics, shim_ShmMap, shim_ShmLock, shim_ShmBarrier, shim_ShmUnmap, NULL, NULL };
    assert_int_equal(sqlite3_vfs_register(&shim_vfs, 0), SQLITE_OK);
}

static void a_disk_that_fails_loses_no_row_that_was_acknowledged(void **state)
{
    struct world *w = *state;
    install();
    w->o.vfs = "faulty";
    for (int mode = FULL; mode <= TORN; mode++)
        for (int n = 0, harmed = 1; harmed; n++) {
            char cmd[128], id[24];
            int acknowledged = 0;
            snprintf(cmd, sizeof cmd, "rm -f %s*", w->path);
            assert_int_equal(system(cmd), 0);
            fault.left = -1;
            start(w);
            fault.mode = mode;
            fault.hits = 0;
            __atomic_store_n(&fault.left, n, __ATOMIC_SEQ_CST);
            for (int i = 0; i < 4; i++) {
                snprintf(id, sizeof id, "a%d", i);
                acknowledged += put(w, ROW_END, id, S("question"), S("answer"), false) == ERR_OK;
            }
            harmed = __atomic_load_n(&fault.hits, __ATOMIC_SEQ_CST);
            if (harmed)
                assert_int_equal(ledger_reserve(w->l, 1), ERR_STORE);       /* new calls are refused */
            __atomic_store_n(&fault.left, -1, __ATOMIC_SEQ_CST);            /* there is space again */
            for (int i = 0; i < 20000 && !ledger_healthy(w->l); i++)
                usleep(500);
            assert_true(ledger_healthy(w->l));                              /* without being opened again */
            assert_int_equal(put(w, ROW_END, "after", S("q"), S("a"), false), ERR_OK);
            acknowledged++;
            ledger_close(w->l);
            struct ledger_verdict v = verify(w);
            if (v.bad_seq || v.ends != acknowledged)
                fail_msg("mode %d, write %d: %lld ends for %d acknowledged; %s", mode, n, (long long)v.ends, acknowledged, v.what);
            n += n > 6 ? 3 : 0;
        }
}

/* ---- bodies ---- */

/* A row with a request and the body sent for it, in these pieces; the caller flushes and waits. */
static void submit(struct world *w, const char *id, const str *request, size_t n_request, const str *sent, size_t n_sent)
{
    struct ledger_entry *e = calloc(1, sizeof *e);
    assert_int_equal(ledger_reserve(w->l, 1), ERR_OK);
    *e = (struct ledger_entry){ .port = &w->port, .on_done = on_done, .ctx = w };
    row_init(&e->row, ROW_END);
    e->row.at_us = clock_wall_us(&w->o.clock);
    e->row.call_id = str_of(id);
    e->row.attempt = 1;
    e->request = (struct ledger_body){ request, n_request };
    e->upstream = (struct ledger_body){ sent, n_sent };
    ledger_submit(w->l, e);
}

static void wait_for(struct world *w, int rows)
{
    ledger_flush(w->l);
    for (int i = 0; i < 50000 && w->ok + w->bad < rows; i++) {
        ledger_collect(&w->port);
        usleep(200);
    }
    assert_int_equal(w->ok, rows);
    assert_int_equal(w->bad, 0);
}

struct hashes { bool request, upstream; int64_t body; };

static bool note_hashes(void *ctx, const struct ledger_seen *s)
{
    *(struct hashes *)ctx = (struct hashes){ s->row.request_hash != NULL, s->row.upstream_hash != NULL, s->row.request_body };
    return true;
}

static void the_body_sent_is_hashed_where_it_is_another(void **state)
{
    struct world *w = *state;
    static const str whole[] = { S("{\"a\":1}") };
    static const struct { str sent[3]; size_t n; bool other; } table[] = {
        { { S("{\"a\":1}") }, 1, false },
        { { S("{"), S(""), S("\"a\":1}") }, 3, false },
        { { S("{\"a\":1"), S("}") }, 2, false },
        { { S("{\"a\":2}") }, 1, true },
        { { S("{\"a\":1}"), S(" ") }, 2, true },
        { { S("{\"a\":1") }, 1, true },
        { { S("x"), S("{\"a\":1}") }, 2, true },
        { { S("") }, 0, false },
    };
    enum { N = sizeof table / sizeof *table };
    char id[N][40];
    struct ledger_reader *r;
    start(w);
    for (int i = 0; i < N; i++) {
        snprintf(id[i], sizeof id[i], "s%d", i);
        submit(w, id[i], whole, 1, table[i].sent, table[i].n);
    }
    wait_for(w, N);
    ledger_close(w->l);
    assert_int_equal(ledger_reader_open(w->path, &r, w->why), ERR_OK);
    for (int i = 0; i < N; i++) {
        struct hashes h = { 0 };
        assert_int_equal(ledger_read(r, &(struct ledger_filter){ .call_id = str_of(id[i]) }, note_hashes, &h), ERR_OK);
        assert_true(h.request);
        assert_int_equal(h.upstream, table[i].other && table[i].n);
    }
    ledger_reader_close(r);
}

/* Alone a body is compressed; with many others, stored or compressed less: it comes back the same. */
static void bodies_of_every_size_come_back_from_batches_of_one_and_of_many(void **state)
{
    struct world *w = *state;
    static const size_t sizes[] = { 0, 1, 255, 256, 4095, 4096, 4097, 70000, 200000 };
    enum { N = sizeof sizes / sizeof *sizes };
    str text[N];
    char id[2][N][40];
    struct ledger_reader *r;
    start(w);
    for (size_t i = 0; i < N; i++) {
        char *p = malloc(sizes[i] + 1);
        for (size_t k = 0; k < sizes[i]; k++)
            p[k] = (char)('a' + k * k % 23);
        text[i] = (str){ p, sizes[i] };
    }
    for (int many = 0; many < 2; many++)
        for (size_t i = 0; i < N; i++) {
            snprintf(id[many][i], sizeof id[many][i], "b%d%zu", many, i);
            submit(w, id[many][i], &text[i], 1, NULL, 0);
            if (!many)
                wait_for(w, (int)i + 1);
        }
    wait_for(w, 2 * N);
    ledger_close(w->l);
    struct ledger_verdict v = verify(w);
    assert_int_equal(v.bad_seq, 0);
    assert_int_equal(v.bodies, 2 * N);
    assert_int_equal(ledger_reader_open(w->path, &r, w->why), ERR_OK);
    for (size_t i = 0; i < 2 * N; i++) {
        struct hashes h = { 0 };
        struct arena a;
        str back;
        bool cut;
        arena_init(&a, 1 << 22);
        assert_int_equal(ledger_read(r, &(struct ledger_filter){ .call_id = str_of(id[i / N][i % N]) }, note_hashes, &h), ERR_OK);
        assert_int_equal(ledger_read_body(r, &a, h.body, &back, &cut), ERR_OK);
        assert_true(str_eq(back, text[i % N]) && !cut);
        arena_free(&a);
    }
    ledger_reader_close(r);
    for (size_t i = 0; i < N; i++)
        free((char *)(uintptr_t)text[i].p);
}

/* ---- the log of SQLite ---- */

static off_t log_size(struct world *w)
{
    char path[128];
    struct stat st;
    snprintf(path, sizeof path, "%s-wal", w->path);
    assert_int_equal(stat(path, &st), 0);
    return st.st_size;
}

static void put_many(struct world *w, int n)
{
    static char prompt[3000];
    char id[40];
    for (int i = 0; i < n; i++) {
        snprintf(id, sizeof id, "log%d", w->ok);
        for (size_t k = 0; k < sizeof prompt; k++)
            prompt[k] = (char)rand_u64(&w->o.rng);
        assert_int_equal(put(w, ROW_END, id, (str){ prompt, sizeof prompt }, S("answer"), false), ERR_OK);
    }
}

/* Rows come without a pause, one a transaction, 24 KiB of log each: without checkpoints that come to their end it would be ten times as long. */
static void the_log_begins_again_while_rows_are_written(void **state)
{
    struct world *w = *state;
    struct ledger_stats s;
    w->o.wal_soft = 256 << 10;
    start(w);
    put_many(w, 2000);
    ledger_stats(w->l, &s);
    off_t size = log_size(w);
    ledger_close(w->l);
    assert_int_equal(s.forced_checkpoints, 0);
    if (size > 12 << 20)
        fail_msg("the log has grown to %lld bytes", (long long)size);
}

/* While somebody reads an older state the log cannot begin again; afterwards it does. */
static void a_reader_delays_the_log_and_no_more(void **state)
{
    struct world *w = *state;
    sqlite3 *db;
    w->o.wal_soft = 256 << 10;
    start(w);
    put_many(w, 20);
    assert_int_equal(sqlite3_open_v2(w->path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "BEGIN; SELECT count(*) FROM row", NULL, NULL, NULL), SQLITE_OK);
    put_many(w, 400);
    off_t held = log_size(w);
    assert_true(held > 4 << 20);
    assert_int_equal(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    put_many(w, 1500);
    off_t size = log_size(w);
    sqlite3_close(db);
    ledger_close(w->l);
    if (size > held + (12 << 20))
        fail_msg("the log has grown from %lld to %lld bytes", (long long)held, (long long)size);
    assert_int_equal(verify(w).bad_seq, 0);
}

enum { QUIET_SOFT = 256 << 10 };

/* Is nothing left to do for a moment without rows: the log is short, or all of its pages are back in the file? (WalIndexHdr.mxFrame, WalCkptInfo.nBackfill:
 * "WAL-mode File Format" of SQLite's documentation; pages of 8 KiB.) */
static bool is_settled(struct world *w)
{
    char path[128];
    uint32_t index[34] = { 0 };
    snprintf(path, sizeof path, "%s-shm", w->path);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t n = fread(index, sizeof index, 1, f);
    fclose(f);
    return n == 1 && (index[4] <= QUIET_SOFT / 8192 || index[4] == index[24]);
}

/* A round writes some 40 pages, 320 KiB, on top of 256 at most: far below the four times 256 that the log would have without pauses. */
static void the_log_begins_again_in_a_quiet_moment(void **state)
{
    struct world *w = *state;
    w->o.wal_soft = QUIET_SOFT;
    start(w);
    for (int round = 0; round < 20; round++) {
        put_many(w, 8);
        for (int i = 0; i < 1000 && !is_settled(w); i++)
            usleep(10000);
        assert_true(is_settled(w));
    }
    off_t size = log_size(w);
    ledger_close(w->l);
    if (size > 900 << 10)
        fail_msg("the log has grown to %lld bytes", (long long)size);
}

static void *spin(void *stop)
{
    while (!atomic_load((atomic_bool *)stop))
        ;
    return NULL;
}

/* The patient thread gets nothing of the only core that the process has. */
static void a_busy_core_does_not_keep_the_log_from_its_end(void **state)
{
    struct world *w = *state;
    struct ledger_stats s;
    atomic_bool stop = false;
    pthread_t spinner;
    cpu_set_t all, one;
    assert_int_equal(sched_getaffinity(0, sizeof all, &all), 0);
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE && !CPU_COUNT(&one); i++)
        if (CPU_ISSET(i, &all))
            CPU_SET(i, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    assert_int_equal(pthread_create(&spinner, NULL, spin, &stop), 0);
    w->o.wal_soft = 256 << 10;
    start(w);
    put_many(w, 2000);
    ledger_stats(w->l, &s);
    off_t size = log_size(w);
    atomic_store(&stop, true);
    pthread_join(spinner, NULL);
    assert_int_equal(sched_setaffinity(0, sizeof all, &all), 0);
    ledger_close(w->l);
    assert_int_equal(s.forced_checkpoints, 0);
    if (size > 12 << 20)
        fail_msg("the log has grown to %lld bytes", (long long)size);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(rows_come_back_as_they_were_written_and_the_chain_is_sound),
        TEST(rows_of_every_set_of_fields_come_back),
        TEST(answers_are_told_newest_first_with_their_speed),
        TEST(a_change_of_any_column_is_found_in_the_first_bad_row),
        TEST(a_second_end_is_found),
        TEST(a_second_writer_is_told_who_the_first_is),
        TEST(the_last_measure_of_a_model_is_kept_and_every_one_is_a_row),
        TEST(private_bodies_need_the_key),
        TEST(file_and_log_stay_within_their_limits_under_load),
        TEST(large_bodies_are_erased_one_after_the_other),
        TEST(a_clock_that_was_wrong_erases_nothing_early_and_blocks_nothing),
        TEST(what_is_old_behind_what_is_fresh_is_found_too),
        TEST(a_newer_or_foreign_file_is_refused),
        TEST(the_id_of_an_erased_body_is_never_given_to_another),
        TEST(a_disk_that_fails_loses_no_row_that_was_acknowledged),
        TEST(the_body_sent_is_hashed_where_it_is_another),
        TEST(bodies_of_every_size_come_back_from_batches_of_one_and_of_many),
        TEST(the_log_begins_again_while_rows_are_written),
        TEST(a_reader_delays_the_log_and_no_more),
        TEST(the_log_begins_again_in_a_quiet_moment),
        TEST(a_busy_core_does_not_keep_the_log_from_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
