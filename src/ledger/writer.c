/* ledger/writer.c: the one thread that writes. A batch is a transaction; its entries come back when COMMIT has said yes or no.
 * After a no the chain goes on from where the file really ends. */
#include "core/json.h"
#include "core/log.h"
#include "ledger/store.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Erasing what is too old goes on in small pieces between batches, until none of it is left: a piece is about as long as a batch, and in the log of
 * SQLite no larger than what is erased. FREE_PAGES of the file stay for what comes next. */
enum { PROBE_MS = 500, RETENTION_EVERY_MS = 60000, RETENTION_PAUSE_MS = 10, QUIET_MS = 20, ERASE_BODIES = 256, ERASE_BYTES = 1 << 20, VACUUM_PAGES = 128, FREE_PAGES = 256 };
/* A batch of many means that calls come faster than they are written: then time counts, else space. Prompts and answers of 600 B to 12 KB shrink
 * by 1.6 to 2.3 at level 1 and by 1.2 to 1.6 at level -3. Of a prompt of 2 KB and its answer level 1 takes 11 µs, level -3 4.4 µs for a sixth less
 * to write, which costs 1 µs: so small ones are then stored as they are, in a frame of one raw block. */
enum { BUSY_BATCH = 4, LEVEL_QUIET = 1, LEVEL_BUSY = -3, STORED_MAX = 4096 };


void ledger_options_default(struct ledger_options *o, const char *path)
{
    *o = (struct ledger_options){ .path = path, .keep_bodies = true, .keep_private = true, .retain_ms = INT64_C(90) * 86400000, .queue_items = 4096,
                                  .queue_bytes = 256u << 20, .body_max = 8u << 20, .wal_soft = 16u << 20, .wal_hard = 128u << 20, .clock = clock_system,
                                  .rng = rand_system() };
}

bool ledger_healthy(const struct ledger *l) { return atomic_load_explicit(&l->healthy, memory_order_relaxed); }

/* ---- ports ---- */

void ledger_port_init(struct ledger_port *p, void (*wake)(void *ctx), void *ctx)
{
    *p = (struct ledger_port){ .wake = wake, .ctx = ctx };
    p->tail = &p->head;
    pthread_mutex_init(&p->lock, NULL);
}

void ledger_port_destroy(struct ledger_port *p) { pthread_mutex_destroy(&p->lock); }

/* Gives an entry back, and with it those of its batch that follow and go to the same place: so that their loop is woken once, not by the first
 * of them before the others are there. The next entry of the batch. */
static struct ledger_entry *give_back(struct ledger_entry *e)
{
    struct ledger_port *p = e->port;
    struct ledger_entry *next = (struct ledger_entry *)e->item.next;
    if (!p) {
        e->on_done(e, e->err, e->seq);
        return next;
    }
    pthread_mutex_lock(&p->lock);
    bool first = !p->head;
    for (;; e = next, next = (struct ledger_entry *)e->item.next) {
        e->next_done = NULL;
        *p->tail = e;
        p->tail = &e->next_done;
        if (!next || next->port != p)
            break;
    }
    pthread_mutex_unlock(&p->lock);
    if (first)
        p->wake(p->ctx);
    return next;
}

void ledger_collect(struct ledger_port *p)
{
    pthread_mutex_lock(&p->lock);
    struct ledger_entry *e = p->head;
    p->head = NULL;
    p->tail = &p->head;
    pthread_mutex_unlock(&p->lock);
    while (e) {
        struct ledger_entry *next = e->next_done;
        e->on_done(e, e->err, e->seq);
        e = next;
    }
}

/* ---- one entry ---- */

/* A zstd frame with one raw block (RFC 8878 3.1.1), which readers need not tell from others: `n` is at most STORED_MAX. */
static size_t store_frame(char *to, str body)
{
    const uint32_t n = (uint32_t)body.n, block = n << 3 | 1;    /* type 0, the last */
    const uint8_t head[] = { 0x28, 0xB5, 0x2F, 0xFD, 0xA0,      /* magic number; a single segment, four bytes of content size */
                             (uint8_t)n, (uint8_t)(n >> 8), (uint8_t)(n >> 16), (uint8_t)(n >> 24), (uint8_t)block, (uint8_t)(block >> 8), (uint8_t)(block >> 16) };
    memcpy(to, head, sizeof head);
    if (n)
        memcpy(to + sizeof head, body.p, n);
    return sizeof head + n;
}

static size_t pack(struct ledger *l)
{
    if (l->busy && l->joined.n <= STORED_MAX)
        return store_frame(l->packed.p, buf_str(&l->joined));
    return ZSTD_compressCCtx(l->zstd, l->packed.p, l->packed.cap, l->joined.p ? l->joined.p : "", l->joined.n, l->busy ? LEVEL_BUSY : LEVEL_QUIET);
}

static enum err insert_body(struct ledger *l, const struct ledger_body *b, bool private, const uint8_t salt[SALT], int64_t *id)
{
    size_t n = 0;
    buf_clear(&l->joined);
    for (size_t i = 0; i < b->n; i++) {
        size_t room = l->o.body_max - l->joined.n;
        n += b->slices[i].n;
        if (buf_put(&l->joined, (str){ b->slices[i].p, b->slices[i].n < room ? b->slices[i].n : room }) != ERR_OK)
            return ERR_MEMORY;
    }
    buf_clear(&l->packed);
    if (buf_reserve(&l->packed, ZSTD_compressBound(l->joined.n)) != ERR_OK)
        return ERR_MEMORY;
    size_t packed = pack(l);
    if (ZSTD_isError(packed))
        return ERR_MEMORY;
    str data = { l->packed.p, packed };
    if (private && seal_close(&l->arena, &l->key, (str){ (const char *)salt, SALT }, data, &data) != ERR_OK)
        return ERR_MEMORY;
    sqlite3_stmt *q = l->insert_body;
    int bad = sqlite3_bind_int(q, 1, private ? BODY_SEALED : BODY_PLAIN);
    bad |= sqlite3_bind_int64(q, 2, (int64_t)n);
    bad |= sqlite3_bind_int(q, 3, n > l->o.body_max);
    bad |= sqlite3_bind_int64(q, 4, clock_wall_us(&l->o.clock));
    bad |= sqlite3_bind_blob(q, 5, salt, SALT, SQLITE_STATIC);
    bad |= sqlite3_bind_blob64(q, 6, data.p, data.n, SQLITE_STATIC);
    bad |= sqlite3_bind_int64(q, 7, ++l->body_id);
    int rc = bad ? SQLITE_ERROR : sqlite3_step(q);
    sqlite3_reset(q);
    *id = l->body_id;
    return rc == SQLITE_DONE ? ERR_OK : ERR_STORE;
}

/* Hashes a body into *hash and, where bodies are kept, stores it and names it in *id. */
static enum err take_body(struct ledger *l, const struct ledger_entry *e, const struct ledger_body *b, const uint8_t salt[SALT], struct digest *hash,
                          const struct digest **field, int64_t *id)
{
    if (!b->n)
        return ERR_OK;
    *hash = body_hash(l->sha, e->private && l->has_key ? &l->key : NULL, salt, b->slices, b->n);
    *field = hash;
    bool keep = id && l->o.keep_bodies && (!e->private || (l->o.keep_private && l->has_key));
    return keep ? insert_body(l, b, e->private, salt, id) : ERR_OK;
}

/* Do two bodies, each in its own pieces, come to the same bytes? */
static bool same_bytes(const struct ledger_body *a, const struct ledger_body *b)
{
    size_t i = 0, k = 0;
    str x = STR_NONE, y = STR_NONE;
    for (;;) {
        while (!x.n && i < a->n)
            x = a->slices[i++];
        while (!y.n && k < b->n)
            y = b->slices[k++];
        size_t n = x.n < y.n ? x.n : y.n;
        if (!n)
            return x.n == y.n;
        if (memcmp(x.p, y.p, n) != 0)
            return false;
        x = str_skip(x, n);
        y = str_skip(y, n);
    }
}

static enum err insert_note(struct ledger *l, const struct ledger_entry *e)
{
    sqlite3_stmt *q = NULL;
    const char *sql = e->note == NOTE_MODEL       ? "INSERT OR IGNORE INTO model VALUES (?1, ?2, ?3)"
                      : e->note == NOTE_FOOTPRINT ? "INSERT OR REPLACE INTO footprint VALUES (?1, ?2, ?3)"
                                                  : "INSERT OR IGNORE INTO config VALUES (?1, ?2, ?3)";
    enum err err = ERR_STORE;
    if (sqlite3_prepare_v2(l->db, sql, -1, &q, NULL) != SQLITE_OK)
        goto done;
    sqlite3_bind_blob(q, 1, e->note_key.b, 32, SQLITE_STATIC);
    sqlite3_bind_int64(q, 2, clock_wall_us(&l->o.clock));
    sqlite3_bind_text64(q, 3, e->note_text.p, e->note_text.n, SQLITE_STATIC, SQLITE_UTF8);
    if (sqlite3_step(q) == SQLITE_DONE)
        err = ERR_OK;
done:
    sqlite3_finalize(q);
    return err;
}

/* A text that is not UTF-8 (a header may hold anything) would not come back from SQLite as it went in. */
static enum err clean_texts(struct ledger *l, struct ledger_row *row, const struct row_part *parts, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        str *s = (str *)((char *)row + row_fields[parts[i].field].offset);
        if (parts[i].plain || (str_is_utf8(*s) && str_index(*s, '\0') == s->n))
            continue;
        *s = arena_str(&l->arena, *s);
        if (!s->p)
            return ERR_MEMORY;
        for (size_t k = 0; k < s->n; k++)
            if ((unsigned char)s->p[k] >= 0x80 || !s->p[k])
                ((char *)(uintptr_t)s->p)[k] = '?';
    }
    return ERR_OK;
}

static enum err insert_row(struct ledger *l, const struct ledger_row *row)
{
    struct ledger_seen s = { .seq = l->seq + 1, .schema = LEDGER_SCHEMA, .row = *row };
    struct row_part parts[ROW_PARTS_MAX];
    struct digest hash;
    size_t n = row_parts(row, parts);
    enum err e = clean_texts(l, &s.row, parts, n);
    if (!e)
        e = row_hash(l->sha, &l->canonical, &s, parts, n, &l->head, &hash);
    if (e)
        return e;
    sqlite3_stmt *q = insert_statement(&l->inserter, l->db, parts, n);
    if (!q)
        return ERR_STORE;
    int bad = sqlite3_bind_int64(q, 1, s.seq) | sqlite3_bind_int(q, 2, LEDGER_SCHEMA) | sqlite3_bind_int(q, 3, row->kind);
    bad |= sqlite3_bind_blob(q, 4, hash.b, sizeof hash.b, SQLITE_STATIC);
    int rc = bad || row_bind(q, &s.row, parts, n) ? SQLITE_ERROR : sqlite3_step(q);
    sqlite3_reset(q);
    if (rc != SQLITE_DONE)
        return ERR_STORE;
    l->seq = s.seq;
    l->head = hash;
    return ERR_OK;
}

/* Drawn many at a time: asking the kernel for each costs as much as hashing 200 bytes. None stays behind once it is used. */
static void take_salts(struct ledger *l, uint8_t to[2][SALT])
{
    const size_t n = 2 * SALT;
    if (l->salts_left < n) {
        l->o.rng.fill(&l->o.rng, l->salts, sizeof l->salts);
        l->salts_left = sizeof l->salts;
    }
    l->salts_left -= n;
    memcpy(to, l->salts + l->salts_left, n);
    explicit_bzero(l->salts + l->salts_left, n);
}

static enum err write_entry(struct ledger *l, struct ledger_entry *e)
{
    uint8_t salt[2][SALT] = { 0 };
    struct digest request, upstream, response, variables, rendered;
    if (e->request.n || e->upstream.n || e->response.n || e->variables.n || e->rendered.n)
        take_salts(l, salt);
    arena_reset(&l->arena);
    enum err err = take_body(l, e, &e->request, salt[0], &request, &e->row.request_hash, &e->row.request_body);
    if (!err && !same_bytes(&e->request, &e->upstream))
        err = take_body(l, e, &e->upstream, salt[0], &upstream, &e->row.upstream_hash, NULL);
    if (!err)
        err = take_body(l, e, &e->variables, salt[0], &variables, &e->row.variables_hash, NULL);
    if (!err)
        err = take_body(l, e, &e->rendered, salt[0], &rendered, &e->row.rendered_hash, NULL);
    if (!err)
        err = take_body(l, e, &e->response, salt[1], &response, &e->row.response_hash, &e->row.response_body);
    if (!err && e->note == NOTE_ERASE)
        err = erase_bodies(l, e);
    else if (!err && e->note != NOTE_NONE)
        err = insert_note(l, e);
    if (!err)
        err = insert_row(l, &e->row);
    e->seq = l->seq;
    l->own.rows++;
    l->own.bytes_in += e->item.bytes;
    return err;
}

/* ---- batches ---- */

static void set_health(struct ledger *l, bool well)
{
    if (atomic_exchange(&l->healthy, well) == well)
        return;
    if (well)
        log_info("ledger_recovered", LOG_C("path", l->path));
    else
        log_error("ledger_failed", LOG_C("path", l->path), LOG_C("why", sqlite3_errmsg(l->db)), LOG_C("effect", "calls are refused until it can be written"));
    l->outage |= !well;
}

/* Leaves the writer where the file is: nothing of the failed transaction happened, or all of it, whatever COMMIT said. */
static void undo(struct ledger *l)
{
    l->own.failures++;
    if (!sqlite3_get_autocommit(l->db))
        (void)store_exec(l->db, "ROLLBACK");
    if (store_head(l->db, &l->seq, &l->head) != ERR_OK)
        log_warn("ledger_head_unknown", LOG_C("why", sqlite3_errmsg(l->db)));
}

static enum err note_outage(struct ledger *l)
{
    struct ledger_row row;
    row_init(&row, ROW_EVENT);
    row.at_us = clock_wall_us(&l->o.clock);
    row.event = S("ledger_outage_over");
    return insert_row(l, &row);
}

static enum err step(sqlite3_stmt *q)
{
    int rc = sqlite3_step(q);
    sqlite3_reset(q);
    return rc == SQLITE_DONE ? ERR_OK : ERR_STORE;
}

static enum err write_batch(struct ledger *l, struct queue_item *first)
{
    enum err e = step(l->begin);
    int n = 0;
    for (struct queue_item *it = first; it && n <= BUSY_BATCH; it = it->next)
        n++;
    l->busy = n > BUSY_BATCH;
    /* After a failure the chain is read again: a COMMIT that failed may still have happened. */
    if (!e && l->outage)
        e = store_head(l->db, &l->seq, &l->head);
    if (!e && l->outage)
        e = note_outage(l);
    for (struct queue_item *it = first; it && !e; it = it->next)
        e = write_entry(l, (struct ledger_entry *)it);
    if (!e)
        e = step(l->commit);
    if (e) {
        set_health(l, false);
        undo(l);
    } else {
        l->outage = false;
        set_health(l, true);
        l->own.batches++;
    }
    return e ? ERR_STORE : ERR_OK;
}

static void run_batch(struct ledger *l, struct queue_item *first)
{
    enum err e = write_batch(l, first);
    pthread_mutex_lock(&l->lock);
    l->stats = l->own;
    pthread_mutex_unlock(&l->lock);
    for (struct queue_item *it = first; it; it = it->next) {
        ((struct ledger_entry *)it)->err = e;
        if (e)
            ((struct ledger_entry *)it)->seq = 0;
    }
    for (struct ledger_entry *entry = (struct ledger_entry *)first; entry;)
        entry = give_back(entry);
}

/* ---- the log file of SQLite, and what is too old ---- */

static int on_wal(void *ctx, sqlite3 *db, const char *name, int pages)
{
    (void)db;
    (void)name;
    struct ledger *l = ctx;
    atomic_store(&l->wal_pages, pages);
    return SQLITE_OK;
}

static bool is_old(const struct ledger *l, int64_t at_us, int64_t now_us) { return at_us < now_us - l->o.retain_ms * 1000; }

/* Walks over bodies after *from, in the order in which they came. *last: the one looked at last; *old: how many of them are. ERR_AGAIN: there are more.
 * `front`: ends with the first that is fresh, as all behind it should be; times that are still to come (the clock was wrong) are passed over. */
static enum err find_old(struct ledger *l, int64_t from, bool front, int64_t now_us, int64_t *last, int64_t *old)
{
    sqlite3_stmt *q = NULL;
    enum err e = ERR_STORE;
    int64_t bytes = 0, n = 0;
    int rc = SQLITE_ROW;
    *last = from;
    *old = 0;
    if (sqlite3_prepare_v2(l->db, "SELECT id, at_us, length(data) FROM body WHERE id > ?1 ORDER BY id", -1, &q, NULL) != SQLITE_OK || sqlite3_bind_int64(q, 1, from) != SQLITE_OK)
        goto done;
    while (n < ERASE_BODIES && bytes < ERASE_BYTES && (rc = sqlite3_step(q)) == SQLITE_ROW) {
        int64_t at = sqlite3_column_int64(q, 1);
        bool is = is_old(l, at, now_us);
        if (front && !is && at <= now_us) {
            rc = SQLITE_DONE;
            break;
        }
        *last = sqlite3_column_int64(q, 0);
        *old += is;
        bytes += is ? sqlite3_column_int64(q, 2) : 0;
        n++;
    }
    if (rc == SQLITE_ROW || rc == SQLITE_DONE)
        e = rc == SQLITE_ROW ? ERR_AGAIN : ERR_OK;
done:
    sqlite3_finalize(q);
    return e;
}

/* Erases what is old of the next few after *from, and moves it; 0: from the front again. */
static enum err erase_some(struct ledger *l, int64_t *from, bool front, int64_t *old)
{
    char sql[160];
    int64_t last, now_us = clock_wall_us(&l->o.clock);
    enum err e = find_old(l, *from, front, now_us, &last, old);
    if (e == ERR_STORE)
        return e;
    snprintf(sql, sizeof sql, "DELETE FROM body WHERE id > %lld AND id <= %lld AND at_us < %lld", (long long)*from, (long long)last, (long long)(now_us - l->o.retain_ms * 1000));
    if (*old && store_exec(l->db, sql) != ERR_OK)
        return ERR_STORE;
    *from = e == ERR_AGAIN ? last : 0;
    return e;
}

/* The oldest bodies lie in front, so a look that finds nothing reads one. Where the clock has jumped some lie elsewhere: for those the whole table is gone
 * through, a little each time. ERR_AGAIN: there is more of it now. */
static enum err erase_old(struct ledger *l)
{
    int64_t old;
    enum err e = erase_some(l, &l->retain_from, true, &old);
    if (e != ERR_OK)
        return e;
    e = erase_some(l, &l->swept_id, false, &old);
    return e == ERR_AGAIN && !old ? ERR_OK : e;
}

/* Pages that nothing needs go back to the file system, also those that were erased by name. ERR_AGAIN: there are more. */
static enum err give_pages_back(struct ledger *l)
{
    char sql[64];
    int64_t free = store_int(l->db, "PRAGMA freelist_count") - FREE_PAGES;
    if (free <= 0)
        return ERR_OK;
    snprintf(sql, sizeof sql, "PRAGMA incremental_vacuum(%d)", VACUUM_PAGES);
    enum err e = store_exec(l->db, sql);
    return e ? e : free > VACUUM_PAGES ? ERR_AGAIN : ERR_OK;
}

static void retain(struct ledger *l)
{
    int64_t now = clock_mono_us(&l->o.clock) / 1000;
    if (now < l->retention_ms)
        return;
    enum err old = erase_old(l), pages = give_pages_back(l);
    l->retaining = old == ERR_AGAIN || pages == ERR_AGAIN;
    l->retention_ms = l->retaining ? 0 : now + RETENTION_EVERY_MS;
}

/* How long to wait for the next batch. */
static int64_t patience_ms(struct ledger *l)
{
    if (!ledger_healthy(l))
        return PROBE_MS;
    return l->retaining ? RETENTION_PAUSE_MS : checkpoint_waits(l) ? QUIET_MS : RETENTION_EVERY_MS;
}

static void *writer_main(void *arg)
{
    struct ledger *l = arg;
    for (;;) {
        struct queue_item *batch = queue_take_all(&l->queue, patience_ms(l));
        pthread_mutex_lock(&l->lock);
        bool closing = l->closing;
        pthread_mutex_unlock(&l->lock);
        if (!batch && closing)
            return NULL;
        if (batch)
            run_batch(l, batch);
        else if (!ledger_healthy(l))
            (void)write_batch(l, NULL); /* a probe: the row of the outage's end */
        if (!ledger_healthy(l))
            continue;
        retain(l);
        if (batch || l->retaining)
            checkpoint_after_batch(l);
        else
            checkpoint_when_quiet(l);
    }
}

/* ---- from outside ---- */

enum err ledger_reserve(struct ledger *l, size_t places)
{
    if (!ledger_healthy(l))
        return ERR_STORE;
    for (size_t i = 0; i < places; i++) {
        enum err e = queue_reserve(&l->queue);
        if (e) {
            ledger_unreserve(l, i);
            return e == ERR_BUSY ? ERR_BUSY : ERR_STORE;
        }
    }
    return ERR_OK;
}

void ledger_unreserve(struct ledger *l, size_t places)
{
    while (places--)
        queue_unreserve(&l->queue);
}

static size_t entry_bytes(const struct ledger_entry *e)
{
    const struct ledger_body *all[] = { &e->request, &e->upstream, &e->response };
    size_t n = sizeof *e;
    for (size_t i = 0; i < 3; i++)
        for (size_t k = 0; k < all[i]->n; k++)
            n += all[i]->slices[k].n;
    return n;
}

void ledger_submit(struct ledger *l, struct ledger_entry *e)
{
    bool wake;
    e->item.bytes = entry_bytes(e);
    e->err = ERR_OK;
    e->seq = 0;
    if (queue_put(&l->queue, &e->item, true, &wake) != ERR_OK) {
        e->err = ERR_STORE;             /* it is being closed */
        e->item.next = NULL;
        (void)give_back(e);
    }
}

void ledger_flush(struct ledger *l) { queue_wake(&l->queue); }

static void note_on_done(struct ledger_entry *e, enum err err, int64_t seq)
{
    (void)err;
    (void)seq;
    free(e);
}

/* An entry of ours with its texts behind it, in one piece. */
static enum err note(struct ledger *l, const char *event, str detail, int kind, const struct digest *key)
{
    struct ledger_entry *e = malloc(sizeof *e + detail.n + 1);
    bool wake;
    if (!e)
        return ERR_MEMORY;
    char *text = (char *)(e + 1);
    *e = (struct ledger_entry){ .on_done = note_on_done, .note = kind };
    if (detail.n)
        memcpy(text, detail.p, detail.n);
    row_init(&e->row, ROW_EVENT);
    e->row.at_us = clock_wall_us(&l->o.clock);
    e->row.event = str_of(event);
    if (key) {
        e->note_key = *key;
        e->note_text = (str){ text, detail.n };
        if (kind == NOTE_MODEL)
            e->row.fingerprint = &e->note_key;
        else if (kind == NOTE_FOOTPRINT)
            e->row.detail = e->note_text;
        else
            e->row.policy = &e->note_key;
    } else {
        e->row.detail = (str){ text, detail.n };
    }
    e->item.bytes = sizeof *e + detail.n;
    enum err err = queue_put(&l->queue, &e->item, false, &wake);
    if (err) {
        free(e);
        return err;
    }
    queue_wake(&l->queue);
    return ERR_OK;
}

static bool is_known(struct ledger *l, const struct digest *d)
{
    bool known = false;
    pthread_mutex_lock(&l->lock);
    for (size_t i = 0; i < l->n_known && !known; i++)
        known = digest_eq(&l->known[i], d);
    if (!known && l->n_known < KNOWN_MAX)
        l->known[l->n_known++] = *d;
    pthread_mutex_unlock(&l->lock);
    return known;
}

enum err ledger_note_model(struct ledger *l, const struct digest *fingerprint, str identity)
{
    return is_known(l, fingerprint) ? ERR_OK : note(l, "model_seen", identity, NOTE_MODEL, fingerprint);
}

enum err ledger_note_config(struct ledger *l, const struct digest *hash, str text)
{
    return is_known(l, hash) ? ERR_OK : note(l, "config_in_force", text, NOTE_CONFIG, hash);
}

enum err ledger_note_footprint(struct ledger *l, const struct digest *key, str facts) { return note(l, "model_measured", facts, NOTE_FOOTPRINT, key); }

enum err ledger_note_event(struct ledger *l, const char *event, str detail) { return note(l, event, detail, NOTE_NONE, NULL); }

void ledger_stats(struct ledger *l, struct ledger_stats *out)
{
    pthread_mutex_lock(&l->lock);
    *out = l->stats;                    /* as of the last batch */
    pthread_mutex_unlock(&l->lock);
    pthread_mutex_lock(&l->queue.lock);
    out->waiting = l->queue.items;
    pthread_mutex_unlock(&l->queue.lock);
}

/* ---- opening and closing ---- */

static enum err take_lock(struct ledger *l, char why[256])
{
    char pid[24] = "";
    l->lock_fd = open(l->lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (l->lock_fd < 0) {
        snprintf(why, 256, "the lock %.150s cannot be made: %s", l->lock_path, strerror(errno));
        return ERR_STORE;
    }
    if (flock(l->lock_fd, LOCK_EX | LOCK_NB)) {
        ssize_t n = pread(l->lock_fd, pid, sizeof pid - 1, 0);
        pid[n > 0 ? n : 0] = '\0';
        snprintf(why, 256, "the ledger %.150s is in use by another hearth (process %s)", l->path, *pid ? pid : "unknown");
        return ERR_BUSY;
    }
    int n = snprintf(pid, sizeof pid, "%ld", (long)getpid());
    if (ftruncate(l->lock_fd, 0) || pwrite(l->lock_fd, pid, (size_t)n, 0) != n) {
        snprintf(why, 256, "the lock %.150s cannot be written: %s", l->lock_path, strerror(errno));
        return ERR_STORE;
    }
    return ERR_OK;
}

static enum err prepare(struct ledger *l, char why[256])
{
    if (sqlite3_prepare_v3(l->db, "BEGIN IMMEDIATE", -1, SQLITE_PREPARE_PERSISTENT, &l->begin, NULL) != SQLITE_OK ||
        sqlite3_prepare_v3(l->db, "COMMIT", -1, SQLITE_PREPARE_PERSISTENT, &l->commit, NULL) != SQLITE_OK ||
        sqlite3_prepare_v3(l->db, "INSERT INTO body (id, kind, size, truncated, at_us, salt, data) VALUES (?7, ?1, ?2, ?3, ?4, ?5, ?6)", -1, SQLITE_PREPARE_PERSISTENT,
                           &l->insert_body, NULL) != SQLITE_OK) {
        snprintf(why, 256, "the ledger %.100s is damaged: %.100s", l->path, sqlite3_errmsg(l->db));
        return ERR_STORE;
    }
    return ERR_OK;
}

static enum err open_file(struct ledger *l, char why[256])
{
    mode_t before = umask(0077);
    enum err e = store_open_db(l->path, l->o.vfs, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, &l->db, why);
    if (!e) {
        (void)store_exec(l->db, "PRAGMA page_size = 8192; PRAGMA auto_vacuum = INCREMENTAL"); /* both only where the file is new */
        if (store_exec(l->db, "PRAGMA journal_mode = WAL") || store_exec(l->db, l->o.full_sync ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL")) {
            snprintf(why, 256, "the ledger %.100s cannot be written: %.100s", l->path, sqlite3_errmsg(l->db));
            e = ERR_STORE;
        }
        (void)store_exec(l->db, "PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = -1024; PRAGMA secure_delete = ON");
    }
    if (!e)
        e = store_migrate(l->db, l->path, why);
    umask(before);
    if (!e)
        e = prepare(l, why);
    if (!e && ((e = store_head(l->db, &l->seq, &l->head)) || (l->body_id = store_last_body(l->db)) < 0)) {
        e = ERR_STORE;
        snprintf(why, 256, "the ledger %.100s is damaged: %.100s", l->path, sqlite3_errmsg(l->db));
    }
    if (!e) {
        l->page_size = store_int(l->db, "PRAGMA page_size");
        sqlite3_wal_hook(l->db, on_wal, l);
    }
    return e;
}

static enum err open_parts(struct ledger *l, char why[256])
{
    enum err e = take_lock(l, why);
    if (e)
        return e;
    if ((e = open_file(l, why)))
        return e;
    e = seal_key_load(l->key_path, &l->key);
    l->has_key = e == ERR_OK;
    if (e) {
        snprintf(why, 256, e == ERR_FORBIDDEN ? "the key %.180s may be read by others: chmod 600" : "the key %.180s cannot be read or made", l->key_path);
        return ERR_STORE;
    }
    l->sha = sha256_new();
    l->zstd = ZSTD_createCCtx();
    e = l->sha && l->zstd ? queue_init(&l->queue, l->o.queue_items, l->o.queue_bytes) : ERR_MEMORY;
    if (e)
        return e;
    atomic_store(&l->healthy, true);
    checkpoint_start(l);
    if (pthread_create(&l->writer, NULL, writer_main, l)) {
        l->closing = true;
        checkpoint_stop(l);
        return ERR_MEMORY;
    }
    return ERR_OK;
}

static void close_parts(struct ledger *l)
{
    insert_close(&l->inserter);
    sqlite3_finalize(l->insert_body);
    sqlite3_finalize(l->begin);
    sqlite3_finalize(l->commit);
    sqlite3_close(l->db);
    ZSTD_freeCCtx(l->zstd);
    sha256_free(l->sha);
    buf_free(&l->packed);
    buf_free(&l->canonical);
    buf_free(&l->joined);
    arena_free(&l->arena);
    if (l->lock_fd >= 0)
        close(l->lock_fd);
    pthread_mutex_destroy(&l->lock);
    pthread_mutex_destroy(&l->checkpointing);
    pthread_cond_destroy(&l->wish);
    free(l);
}

enum err ledger_open(const struct ledger_options *o, struct ledger **out, char why[256])
{
    struct ledger *l = calloc(1, sizeof *l);
    if (!l)
        return ERR_MEMORY;
    *why = '\0';
    l->o = *o;
    l->lock_fd = -1;
    pthread_mutex_init(&l->lock, NULL);
    pthread_mutex_init(&l->checkpointing, NULL);
    pthread_cond_init(&l->wish, NULL);
    buf_init(&l->packed, ZSTD_compressBound(o->body_max) + 64);
    buf_init(&l->canonical, 16u << 20);
    buf_init(&l->joined, o->body_max);
    arena_init(&l->arena, o->body_max * 2 + (1u << 20));
    int n = snprintf(l->path, sizeof l->path, "%s", o->path);
    snprintf(l->lock_path, sizeof l->lock_path, "%s.lock", l->path);
    snprintf(l->key_path, sizeof l->key_path, "%s.key", l->path);
    enum err e = n > 0 && (size_t)n < sizeof l->path ? open_parts(l, why) : ERR_LIMIT;
    if (e) {
        close_parts(l);
        return e;
    }
    *out = l;
    return ERR_OK;
}

void ledger_close(struct ledger *l)
{
    pthread_mutex_lock(&l->lock);
    l->closing = true;
    pthread_mutex_unlock(&l->lock);
    queue_close(&l->queue);
    pthread_join(l->writer, NULL);
    checkpoint_stop(l);
    queue_destroy(&l->queue);
    close_parts(l);
}
