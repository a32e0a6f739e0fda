/* ledger/reader.c: reading beside a running writer, each time with a short transaction, so that checkpoints advance. */
#include "ledger/store.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

struct ledger_reader {
    sqlite3 *db;
    char path[4096], key_path[4104];
    int64_t running_since;              /* intents after this row may still be running; INT64_MAX: no writer is there */
};

/* A writer holds the lock for as long as it lives. */
static bool writer_lives(const char *path)
{
    char lock[4104];
    snprintf(lock, sizeof lock, "%s.lock", path);
    int fd = open(lock, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool held = flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    close(fd);
    return held;
}

static int64_t one_int(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *q = NULL;
    int64_t v = 0;
    if (sqlite3_prepare_v2(db, sql, -1, &q, NULL) == SQLITE_OK && sqlite3_step(q) == SQLITE_ROW)
        v = sqlite3_column_int64(q, 0);
    sqlite3_finalize(q);
    return v;
}

enum err ledger_reader_open(const char *path, struct ledger_reader **out, char why[256])
{
    struct ledger_reader *r = calloc(1, sizeof *r);
    if (!r)
        return ERR_MEMORY;
    snprintf(r->path, sizeof r->path, "%s", path);
    snprintf(r->key_path, sizeof r->key_path, "%s.key", r->path);
    if (access(path, F_OK)) {
        snprintf(why, 256, "there is no ledger %.200s yet", path);
        free(r);
        return ERR_NOTFOUND;
    }
    enum err e = store_open_db(path, NULL, SQLITE_OPEN_READONLY, &r->db, why);
    if (e && strncmp(path, "file:", 5) != 0) {
        /* On a disk that cannot be written there is no shared memory for the log: what is in the file itself can be read. */
        char uri[4200];
        snprintf(uri, sizeof uri, "file:%s?immutable=1", path);
        e = store_open_db(uri, NULL, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, &r->db, why);
    }
    if (!e && one_int(r->db, "PRAGMA application_id") != LEDGER_APPLICATION_ID) {
        snprintf(why, 256, "%.200s is not a ledger of hearth", path);
        e = ERR_STORE;
    }
    if (e) {
        sqlite3_close(r->db);
        free(r);
        return e;
    }
    r->running_since = writer_lives(path) ? one_int(r->db, "SELECT max(seq) FROM row WHERE event = 'start'") : INT64_MAX;
    *out = r;
    return ERR_OK;
}

void ledger_reader_close(struct ledger_reader *r)
{
    if (r)
        sqlite3_close(r->db);
    free(r);
}

/* ---- rows ---- */

struct query {
    struct buf sql;
    str texts[10];
    int64_t ints[8];
    int n_texts, n_ints;
};

static void where_text(struct query *q, const char *condition, str v)
{
    if (!v.n)
        return;
    (void)buf_printf(&q->sql, " AND %s ?%d", condition, 1 + q->n_texts);
    q->texts[q->n_texts++] = v;
}

static void where_int(struct query *q, const char *condition, int64_t v)
{
    (void)buf_printf(&q->sql, " AND %s ?%d", condition, 11 + q->n_ints);
    q->ints[q->n_ints++] = v;
}

static void build(struct query *q, struct arena *a, const struct ledger_filter *f)
{
    (void)buf_printf(&q->sql, "SELECT seq, schema, kind, hash%s FROM row r WHERE 1", row_columns);
    if (f->kinds) {
        (void)buf_printf(&q->sql, " AND kind IN (-1");
        for (int k = 0; k < 32; k++)
            if (f->kinds >> k & 1)
                (void)buf_printf(&q->sql, ",%d", k);
        (void)buf_put(&q->sql, S(")"));
    } else {
        (void)buf_put(&q->sql, S(" AND (kind = 1 OR (kind = 0 AND NOT EXISTS (SELECT 1 FROM row e WHERE e.call_id = r.call_id AND e.attempt = r.attempt AND e.kind = 1)))"));
    }
    if (f->call_id.n) {                 /* a prefix, as a range: the index can be used */
        where_text(q, "call_id >=", f->call_id);
        where_text(q, "call_id <", arena_printf(a, "%.*s~", STR_ARG(f->call_id)));
    }
    where_text(q, "task =", f->task);
    where_text(q, "model =", f->model);
    where_text(q, "provider =", f->provider);
    where_text(q, "zone =", f->zone);
    where_text(q, "key_id =", f->key);
    where_text(q, "conversation =", f->conversation);
    if (str_eq(f->outcome, S("cut")))   /* also what no end row tells of */
        (void)buf_put(&q->sql, S(" AND (outcome = 'cut' OR kind = 0)"));
    else
        where_text(q, "outcome =", f->outcome);
    if (f->guarded)
        (void)buf_put(&q->sql, S(" AND (guard_counts <> '{}' OR error_type IN ('private_data', 'guard_failed'))"));
    if (f->found.n)
        where_text(q, "guard_counts GLOB", arena_printf(a, "*\"%.*s\":*", STR_ARG(f->found)));
    if (f->since_us)
        where_int(q, "at_us >=", f->since_us);
    if (f->until_us)
        where_int(q, "at_us <", f->until_us);
    if (f->after_seq)
        where_int(q, "seq >", f->after_seq);
    (void)buf_printf(&q->sql, " ORDER BY seq %s LIMIT %lld", f->after_seq ? "ASC" : "DESC", (long long)(f->limit ? f->limit : 50));
}

enum err ledger_read(struct ledger_reader *r, const struct ledger_filter *f, bool (*each)(void *ctx, const struct ledger_seen *row), void *ctx)
{
    struct query q = { .sql.max = 16384 };
    struct arena a;
    sqlite3_stmt *st = NULL;
    enum err e = ERR_STORE;
    arena_init(&a, 1 << 16);
    build(&q, &a, f);
    if (sqlite3_prepare_v2(r->db, q.sql.p, (int)q.sql.n, &st, NULL) != SQLITE_OK)
        goto done;
    for (int i = 0; i < q.n_texts; i++)
        sqlite3_bind_text64(st, 1 + i, q.texts[i].p, q.texts[i].n, SQLITE_STATIC, SQLITE_UTF8);
    for (int i = 0; i < q.n_ints; i++)
        sqlite3_bind_int64(st, 11 + i, q.ints[i]);
    int rc;
    while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
        struct ledger_seen seen;
        row_read(st, &seen);
        seen.cut = seen.row.kind == ROW_INTENT && seen.seq < r->running_since;
        if (!each(ctx, &seen))
            break;
    }
    e = rc == SQLITE_DONE || rc == SQLITE_ROW ? ERR_OK : ERR_STORE;
done:
    sqlite3_finalize(st);
    buf_free(&q.sql);
    arena_free(&a);
    return e;
}

/* ---- bodies, models ---- */

static enum err unpack(struct arena *a, str packed, size_t size, str *out)
{
    char *to = arena_alloc(a, size, 1);
    if (!to)
        return ERR_LIMIT;
    size_t n = ZSTD_decompress(to, size, packed.p, packed.n);
    if (ZSTD_isError(n))
        return ERR_STORE;
    *out = (str){ to, n };
    return ERR_OK;
}

/* A body as it lies there. *sealed says whether the key was needed. */
static enum err read_body(struct ledger_reader *r, struct arena *a, int64_t id, str *out, bool *truncated, uint8_t salt[SALT], bool *sealed, struct seal_key *key)
{
    sqlite3_stmt *q = NULL;
    enum err e = ERR_STORE;
    if (sqlite3_prepare_v2(r->db, "SELECT kind, size, truncated, salt, data FROM body WHERE id = ?1", -1, &q, NULL) != SQLITE_OK)
        goto done;
    sqlite3_bind_int64(q, 1, id);
    int rc = sqlite3_step(q);
    e = rc == SQLITE_DONE ? ERR_NOTFOUND : ERR_STORE;
    if (rc != SQLITE_ROW || sqlite3_column_bytes(q, 3) != SALT)
        goto done;
    memcpy(salt, sqlite3_column_blob(q, 3), SALT);
    str data = { sqlite3_column_blob(q, 4), (size_t)sqlite3_column_bytes(q, 4) };
    *truncated = sqlite3_column_int(q, 2) != 0;
    *sealed = sqlite3_column_int(q, 0) == BODY_SEALED;
    if (*sealed) {
        e = access(r->key_path, R_OK) == 0 ? seal_key_load(r->key_path, key) : ERR_FORBIDDEN;
        if (!e)
            e = seal_open(a, key, (str){ (const char *)salt, SALT }, data, &data);
        if (e)
            goto done;
    }
    unsigned long long size = ZSTD_getFrameContentSize(data.p, data.n);
    e = size == ZSTD_CONTENTSIZE_ERROR || size == ZSTD_CONTENTSIZE_UNKNOWN || size > (1u << 30) ? ERR_STORE : unpack(a, data, (size_t)size, out);
done:
    sqlite3_finalize(q);
    return e;
}

enum err ledger_read_body(struct ledger_reader *r, struct arena *a, int64_t id, str *out, bool *truncated)
{
    uint8_t salt[SALT];
    bool sealed;
    struct seal_key key;
    return read_body(r, a, id, out, truncated, salt, &sealed, &key);
}

enum err ledger_read_model(struct ledger_reader *r, struct arena *a, const struct digest *fingerprint, str *json)
{
    sqlite3_stmt *q = NULL;
    enum err e = ERR_STORE;
    if (sqlite3_prepare_v2(r->db, "SELECT identity FROM model WHERE fingerprint = ?1", -1, &q, NULL) != SQLITE_OK)
        goto done;
    sqlite3_bind_blob(q, 1, fingerprint->b, sizeof fingerprint->b, SQLITE_STATIC);
    int rc = sqlite3_step(q);
    e = rc == SQLITE_DONE ? ERR_NOTFOUND : ERR_STORE;
    if (rc == SQLITE_ROW) {
        *json = arena_str(a, (str){ (const char *)sqlite3_column_text(q, 0), (size_t)sqlite3_column_bytes(q, 0) });
        e = json->p ? ERR_OK : ERR_LIMIT;
    }
done:
    sqlite3_finalize(q);
    return e;
}

enum err ledger_read_footprints(struct ledger_reader *r, void (*each)(void *ctx, const struct digest *key, str facts), void *ctx)
{
    sqlite3_stmt *q = NULL;
    int rc = SQLITE_ERROR;
    if (sqlite3_prepare_v2(r->db, "SELECT key, facts FROM footprint", -1, &q, NULL) != SQLITE_OK)
        return ERR_STORE;
    while ((rc = sqlite3_step(q)) == SQLITE_ROW) {
        struct digest key;
        if (sqlite3_column_bytes(q, 0) != (int)sizeof key.b)
            continue;
        memcpy(key.b, sqlite3_column_blob(q, 0), sizeof key.b);
        each(ctx, &key, (str){ (const char *)sqlite3_column_text(q, 1), (size_t)sqlite3_column_bytes(q, 1) });
    }
    sqlite3_finalize(q);
    return rc == SQLITE_DONE ? ERR_OK : ERR_STORE;
}

enum err ledger_read_spend(struct ledger_reader *r, int64_t month_us, int64_t day_us, void (*each)(void *ctx, str key, int64_t day_micros, int64_t month_micros), void *ctx)
{
    static const char sql[] = "SELECT key_id, coalesce(sum(cost_micros) FILTER (WHERE at_us >= ?2), 0), sum(cost_micros) FROM row"
                              " WHERE kind = ?3 AND at_us >= ?1 AND key_id IS NOT NULL AND cost_micros IS NOT NULL GROUP BY key_id";
    sqlite3_stmt *q = NULL;
    int rc = SQLITE_ERROR;
    if (sqlite3_prepare_v2(r->db, sql, sizeof sql, &q, NULL) != SQLITE_OK)
        goto done;
    sqlite3_bind_int64(q, 1, month_us);
    sqlite3_bind_int64(q, 2, day_us);
    sqlite3_bind_int(q, 3, ROW_END);
    while ((rc = sqlite3_step(q)) == SQLITE_ROW)
        each(ctx, (str){ (const char *)sqlite3_column_text(q, 0), (size_t)sqlite3_column_bytes(q, 0) }, sqlite3_column_int64(q, 1), sqlite3_column_int64(q, 2));
done:
    sqlite3_finalize(q);
    return rc == SQLITE_DONE ? ERR_OK : ERR_STORE;
}

enum err ledger_read_answers(struct ledger_reader *r, int64_t limit, void (*each)(void *ctx, const struct ledger_answer *a), void *ctx)
{
    /* What happened before the attempt was sent is in total_us, but not in first_us. */
    /* An answer that was not streamed came as one piece: the time between its first byte and its last says nothing of its tokens. */
    static const char sql[] = "SELECT model, fingerprint, at_us, output_tokens, CASE WHEN stream = 1 THEN total_us - overhead_us - coalesce(queue_us, 0) - first_us END FROM row"
                              " WHERE kind = ?1 AND outcome = 'ok' AND model IS NOT NULL ORDER BY seq DESC LIMIT ?2";
    sqlite3_stmt *q = NULL;
    int rc = SQLITE_ERROR;
    if (sqlite3_prepare_v2(r->db, sql, sizeof sql, &q, NULL) != SQLITE_OK)
        goto done;
    sqlite3_bind_int(q, 1, ROW_END);
    sqlite3_bind_int64(q, 2, limit);
    while ((rc = sqlite3_step(q)) == SQLITE_ROW) {
        struct ledger_answer a = { .model = { (const char *)sqlite3_column_text(q, 0), (size_t)sqlite3_column_bytes(q, 0) }, .at_us = sqlite3_column_int64(q, 2) };
        int64_t tokens = sqlite3_column_int64(q, 3), us = sqlite3_column_int64(q, 4);
        a.has_fingerprint = sqlite3_column_bytes(q, 1) == (int)sizeof a.fingerprint.b;
        if (a.has_fingerprint)
            memcpy(a.fingerprint.b, sqlite3_column_blob(q, 1), sizeof a.fingerprint.b);
        a.tokens_per_second = tokens > 1 && us > 0 ? (double)(tokens - 1) * 1e6 / (double)us : 0;
        each(ctx, &a);
    }
done:
    sqlite3_finalize(q);
    return rc == SQLITE_DONE ? ERR_OK : ERR_STORE;
}

static str column_text(sqlite3_stmt *q, int i) { return (str){ (const char *)sqlite3_column_text(q, i), (size_t)sqlite3_column_bytes(q, i) }; }
static int64_t column_known(sqlite3_stmt *q, int i) { return sqlite3_column_type(q, i) == SQLITE_NULL ? ROW_NULL_I : sqlite3_column_int64(q, i); }

enum err ledger_read_usage(struct ledger_reader *r, int64_t since_us, int64_t until_us, void (*each)(void *ctx, const struct ledger_usage *u), void *ctx)
{
    /* A try that another one followed has no request of its own on record. */
    static const char sql[] = "SELECT at_us, task, model, key_id, zone, outcome, request_hash IS NOT NULL OR attempt = 0, policy, input_tokens, output_tokens, cost_micros, total_us, energy_j"
                              " FROM row WHERE kind = ?1 AND at_us >= ?2 AND at_us < ?3 ORDER BY seq";
    sqlite3_stmt *q = NULL;
    int rc = SQLITE_ERROR;
    if (sqlite3_prepare_v2(r->db, sql, sizeof sql, &q, NULL) != SQLITE_OK)
        goto done;
    sqlite3_bind_int(q, 1, ROW_END);
    sqlite3_bind_int64(q, 2, since_us);
    sqlite3_bind_int64(q, 3, until_us);
    while ((rc = sqlite3_step(q)) == SQLITE_ROW) {
        struct ledger_usage u = { .at_us = sqlite3_column_int64(q, 0), .task = column_text(q, 1), .model = column_text(q, 2), .key = column_text(q, 3), .zone = column_text(q, 4),
                                  .outcome = column_text(q, 5), .is_call = sqlite3_column_int(q, 6) != 0, .input_tokens = column_known(q, 8), .output_tokens = column_known(q, 9),
                                  .cost_micros = column_known(q, 10), .total_us = column_known(q, 11),
                                  .energy_j = sqlite3_column_type(q, 12) == SQLITE_NULL ? NAN : sqlite3_column_double(q, 12) };
        if (sqlite3_column_bytes(q, 7) == (int)sizeof u.policy.b)
            memcpy(u.policy.b, sqlite3_column_blob(q, 7), sizeof u.policy.b);
        each(ctx, &u);
    }
done:
    sqlite3_finalize(q);
    return rc == SQLITE_DONE ? ERR_OK : ERR_STORE;
}

/* ---- verifying ---- */

struct audit {
    struct ledger_reader *r;
    struct ledger_verdict *v;
    struct digest head;
    struct buf scratch;
    struct arena arena;
    struct sha256 *sha;
    int64_t seq;
};

static void found(struct audit *t, int64_t seq, const char *what)
{
    if (t->v->bad_seq && t->v->bad_seq <= seq)
        return;
    t->v->bad_seq = seq;
    snprintf(t->v->what, sizeof t->v->what, "%s", what);
}

static void audit_body(struct audit *t, const struct ledger_seen *s, int64_t id, const struct digest *hash, const char *which)
{
    uint8_t salt[SALT];
    bool truncated, sealed;
    struct seal_key key;
    str body;
    char what[160];
    if (id == ROW_NULL_I)
        return;
    arena_reset(&t->arena);
    enum err e = read_body(t->r, &t->arena, id, &body, &truncated, salt, &sealed, &key);
    bool key_missing = e == ERR_FORBIDDEN && access(t->r->key_path, R_OK) != 0;
    if (e == ERR_NOTFOUND || key_missing)
        return;                         /* erased by retention, or unreadable without its key: the chain stands by itself */
    t->v->bodies++;
    if (!e && truncated)
        return;                         /* its hash is of the whole, of which only a part was kept */
    struct digest d = { { 0 } };
    if (!e)
        d = body_hash(t->sha, sealed ? &key : NULL, salt, &body, 1);
    if (!e && hash && digest_eq(&d, hash))
        return;
    snprintf(what, sizeof what, "the kept %s body %lld does not match the hash in its row", which, (long long)id);
    found(t, s->seq, what);
}

static void audit_row(struct audit *t, const struct ledger_seen *s)
{
    struct row_part parts[ROW_PARTS_MAX];
    size_t n = row_parts(&s->row, parts);
    struct digest want;
    char what[160];
    if (s->seq != t->seq + 1) {
        snprintf(what, sizeof what, "row %lld is missing", (long long)t->seq + 1);
        found(t, s->seq, what);
    } else if (row_hash(t->sha, &t->scratch, s, parts, n, &t->head, &want) != ERR_OK || !digest_eq(&want, &s->hash)) {
        found(t, s->seq, "its hash does not follow from its contents and the row before it");
    }
    t->seq = s->seq;
    t->head = s->hash;
    t->v->rows++;
    t->v->ends += s->row.kind == ROW_END;
    audit_body(t, s, s->row.request_body, s->row.request_hash, "request");
    audit_body(t, s, s->row.response_body, s->row.response_hash, "response");
}

static void audit_ends(struct audit *t)
{
    sqlite3_stmt *q = NULL;
    char what[160];
    if (sqlite3_prepare_v2(t->r->db, "SELECT max(seq), call_id, attempt FROM row WHERE kind = 1 AND call_id IS NOT NULL GROUP BY call_id, attempt HAVING count(*) > 1 ORDER BY 1 LIMIT 1",
                           -1, &q, NULL) == SQLITE_OK && sqlite3_step(q) == SQLITE_ROW) {
        snprintf(what, sizeof what, "a second end for call %.40s, attempt %d", (const char *)sqlite3_column_text(q, 1), sqlite3_column_int(q, 2));
        found(t, sqlite3_column_int64(q, 0), what);
    }
    sqlite3_finalize(q);
    t->v->calls = one_int(t->r->db, "SELECT count(DISTINCT call_id) FROM row WHERE kind IN (0, 1)");
    t->v->cut = one_int(t->r->db, "SELECT count(*) FROM row r WHERE kind = 0 AND NOT EXISTS (SELECT 1 FROM row e WHERE e.call_id = r.call_id AND e.attempt = r.attempt AND e.kind = 1)");
}

enum err ledger_verify(struct ledger_reader *r, void (*on_progress)(void *ctx, int64_t done, int64_t total), void *ctx, struct ledger_verdict *out)
{
    struct audit t = { .r = r, .v = out, .scratch.max = 32u << 20, .sha = sha256_new() };
    struct buf sql = { .max = 8192 };
    sqlite3_stmt *q = NULL;
    enum err e = ERR_STORE;
    *out = (struct ledger_verdict){ 0 };
    arena_init(&t.arena, 256u << 20);
    if (!t.sha)
        goto done;
    (void)store_exec(r->db, "BEGIN");   /* one state of the file, whatever is written meanwhile */
    int64_t total = one_int(r->db, "SELECT max(seq) FROM row");
    (void)buf_printf(&sql, "SELECT seq, schema, kind, hash%s FROM row ORDER BY seq", row_columns);
    if (sqlite3_prepare_v2(r->db, sql.p, (int)sql.n, &q, NULL) != SQLITE_OK)
        goto done;
    int rc;
    while ((rc = sqlite3_step(q)) == SQLITE_ROW) {
        struct ledger_seen s;
        row_read(q, &s);
        audit_row(&t, &s);
        if (on_progress && t.v->rows % 256 == 0)
            on_progress(ctx, t.v->rows, total);
    }
    if (rc == SQLITE_DONE) {
        audit_ends(&t);
        out->head = t.head;
        e = ERR_OK;
    }
done:
    sqlite3_finalize(q);
    (void)store_exec(r->db, "COMMIT");
    buf_free(&sql);
    buf_free(&t.scratch);
    arena_free(&t.arena);
    sha256_free(t.sha);
    return e;
}

enum err ledger_backup(struct ledger_reader *r, const char *to, void (*on_progress)(void *ctx, int64_t done, int64_t total), void *ctx, char why[256])
{
    sqlite3 *copy = NULL;
    int fd = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        snprintf(why, 256, "%.180s cannot be made: %s", to, strerror(errno));
        return errno == EEXIST ? ERR_FORBIDDEN : ERR_IO;
    }
    close(fd);
    int rc = sqlite3_open_v2(to, &copy, SQLITE_OPEN_READWRITE, NULL);
    sqlite3_backup *b = rc == SQLITE_OK ? sqlite3_backup_init(copy, "main", r->db, "main") : NULL;
    while (b && ((rc = sqlite3_backup_step(b, 256)) == SQLITE_OK || rc == SQLITE_BUSY || rc == SQLITE_LOCKED)) {
        if (on_progress)
            on_progress(ctx, sqlite3_backup_pagecount(b) - sqlite3_backup_remaining(b), sqlite3_backup_pagecount(b));
        if (rc != SQLITE_OK)
            sqlite3_sleep(10);
    }
    sqlite3_backup_finish(b);
    if (!b || rc != SQLITE_DONE)
        snprintf(why, 256, "the copy failed: %.200s", copy ? sqlite3_errmsg(copy) : sqlite3_errstr(rc));
    sqlite3_close(copy);
    if (b && rc == SQLITE_DONE)
        return ERR_OK;
    unlink(to);
    return ERR_STORE;
}
