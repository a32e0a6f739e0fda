/* ledger/box.c: five statements. A prefix is a range of names: from it to it with bytes of 0xFF behind, which no name in UTF-8 holds. */
#include "ledger/box.h"

#include "ledger/store.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define BOX_APPLICATION_ID 0x48726278           /* "Hrbx" */
enum { BOX_VERSION = 1, PREFIX_MAX = 512 };

enum statement { GET, PUT, PUT_FRESH, LIST, FORGET, STATEMENTS };
static const char *const statements[STATEMENTS] = {
    [GET] = "SELECT value FROM box WHERE name = ?1",
    [PUT] = "INSERT INTO box (name, at_us, value) VALUES (?1, ?2, ?3) ON CONFLICT (name) DO UPDATE SET at_us = ?2, value = ?3",
    [PUT_FRESH] = "INSERT INTO box (name, at_us, value) VALUES (?1, ?2, ?3)",
    [LIST] = "SELECT name, value FROM box WHERE name > ?1 AND name >= ?2 AND name < ?3 ORDER BY name LIMIT ?4",
    [FORGET] = "DELETE FROM box WHERE name >= ?1 AND name < ?2 AND at_us < ?3",
};

struct box {
    sqlite3 *db;
    sqlite3_stmt *q[STATEMENTS];
};

static bool is_made(sqlite3 *db) { return store_int(db, "PRAGMA application_id") == BOX_APPLICATION_ID && store_int(db, "PRAGMA user_version") == BOX_VERSION; }

/* Several may open a new one at once: the first has made it when the others may look. */
static enum err make_schema(sqlite3 *db, const char *path, char why[256])
{
    char set[96];
    if (is_made(db))
        return ERR_OK;
    snprintf(set, sizeof set, "PRAGMA application_id = %d; PRAGMA user_version = %d", BOX_APPLICATION_ID, BOX_VERSION);
    if (store_exec(db, "BEGIN IMMEDIATE"))
        goto failed;
    if (!is_made(db)) {
        if (store_int(db, "SELECT count(*) FROM sqlite_schema") || store_int(db, "PRAGMA user_version")) {
            snprintf(why, 256, "%.200s is a database of something else, or of a newer hearth", path);
            (void)store_exec(db, "ROLLBACK");
            return ERR_STORE;
        }
        if (store_exec(db, "CREATE TABLE box (name BLOB PRIMARY KEY, at_us INTEGER NOT NULL, value BLOB NOT NULL) STRICT, WITHOUT ROWID") || store_exec(db, set))
            goto failed;
    }
    if (store_exec(db, "COMMIT") == ERR_OK)
        return ERR_OK;
failed:
    snprintf(why, 256, "%.120s cannot be written: %.100s", path, sqlite3_errmsg(db));
    (void)store_exec(db, "ROLLBACK");
    return ERR_STORE;
}

/* Made here and not by SQLite, so that it never lies there for others to read, not even for a moment. Under another name, since a descriptor of a database
 * that somebody has open may not be closed: with it go the locks that this process has there (sqlite.org/howtocorrupt.html, 2.2). */
static bool make_empty(const char *path)
{
    char made[PATH_MAX];
    int n = snprintf(made, sizeof made, "%s.XXXXXX", path), fd = n > 0 && (size_t)n < sizeof made ? mkostemp(made, O_CLOEXEC) : -1;
    if (fd < 0)
        return false;
    close(fd);
    bool there = link(made, path) == 0 || errno == EEXIST;      /* another may have been first */
    unlink(made);
    return there;
}

static enum err make_file(const char *path, char why[256])
{
    struct stat st;
    if ((stat(path, &st) != 0 && (errno != ENOENT || !make_empty(path) || stat(path, &st) != 0)) || !S_ISREG(st.st_mode)) {
        snprintf(why, 256, "%.200s cannot be opened for writing", path);
        return ERR_STORE;
    }
    if (st.st_mode & 077) {
        snprintf(why, 256, "others may read %.180s: chmod 600 it", path);
        return ERR_FORBIDDEN;
    }
    return ERR_OK;
}

/* SQLite does not wait for its lock here, whatever patience it has otherwise: several that open a new file at once would fail. */
static enum err begin_log(sqlite3 *db)
{
    enum { TRIES = 500, PAUSE_MS = 10 };
    for (int i = 0; i < TRIES; i++) {
        enum err e = store_exec(db, "PRAGMA journal_mode = WAL");
        if (!e || (sqlite3_errcode(db) & 0xFF) != SQLITE_BUSY)
            return e;
        sqlite3_sleep(PAUSE_MS);
    }
    return ERR_STORE;
}

enum err box_open(const char *path, struct box **out, char why[256])
{
    enum err e = make_file(path, why);
    if (e)
        return e;
    struct box *b = calloc(1, sizeof *b);
    if (!b) {
        snprintf(why, 256, "no memory");
        return ERR_MEMORY;
    }
    e = store_open_db(path, NULL, SQLITE_OPEN_READWRITE, &b->db, why);
    if (!e && (begin_log(b->db) || store_exec(b->db, "PRAGMA synchronous = NORMAL"))) {
        snprintf(why, 256, "%.120s cannot be written: %.100s", path, sqlite3_errmsg(b->db));
        e = ERR_STORE;
    }
    if (!e)
        e = make_schema(b->db, path, why);
    for (int i = 0; i < STATEMENTS && !e; i++)
        if (sqlite3_prepare_v3(b->db, statements[i], -1, SQLITE_PREPARE_PERSISTENT, &b->q[i], NULL) != SQLITE_OK) {
            snprintf(why, 256, "%.120s: %.100s", path, sqlite3_errmsg(b->db));
            e = ERR_STORE;
        }
    if (e) {
        box_close(b);
        return e;
    }
    *out = b;
    return ERR_OK;
}

void box_close(struct box *b)
{
    if (!b)
        return;
    for (int i = 0; i < STATEMENTS; i++)
        sqlite3_finalize(b->q[i]);
    sqlite3_close(b->db);
    free(b);
}

void box_patience(struct box *b, int ms) { (void)sqlite3_busy_timeout(b->db, ms); }

/* An empty blob, not NULL, for an empty slice. */
static bool bind_blob(sqlite3_stmt *q, int i, str s) { return sqlite3_bind_blob64(q, i, s.n ? s.p : "", s.n, SQLITE_STATIC) == SQLITE_OK; }

static enum err column(struct arena *a, sqlite3_stmt *q, int i, str *out)
{
    int n = sqlite3_column_bytes(q, i);
    *out = arena_str(a, (str){ sqlite3_column_blob(q, i), (size_t)n });
    return out->p ? ERR_OK : ERR_LIMIT;
}

static void reset(sqlite3_stmt *q)
{
    (void)sqlite3_reset(q);             /* its error was that of the step, which was looked at */
    (void)sqlite3_clear_bindings(q);
}

enum err box_get(struct box *b, struct arena *a, str name, str *value)
{
    sqlite3_stmt *q = b->q[GET];
    enum err e = ERR_STORE;
    if (!bind_blob(q, 1, name))
        goto done;
    int rc = sqlite3_step(q);
    e = rc == SQLITE_ROW ? column(a, q, 0, value) : rc == SQLITE_DONE ? ERR_NOTFOUND : ERR_STORE;
done:
    reset(q);
    return e;
}

static enum err put_row(sqlite3_stmt *q, const struct box_row *row, int64_t at_us)
{
    enum err e = ERR_STORE;
    if (bind_blob(q, 1, row->name) && sqlite3_bind_int64(q, 2, at_us) == SQLITE_OK && bind_blob(q, 3, row->value)) {
        int rc = sqlite3_step(q);
        e = rc == SQLITE_DONE ? ERR_OK : (rc & 0xFF) == SQLITE_CONSTRAINT ? ERR_AGAIN : ERR_STORE;
    }
    reset(q);
    return e;
}

enum err box_put(struct box *b, const struct box_row *rows, size_t n, bool fresh, int64_t at_us)
{
    /* Begun as a writer, so that another one is waited for here, and not refused in the middle. */
    enum err e = store_exec(b->db, "BEGIN IMMEDIATE");
    if (e)
        return e;
    for (size_t i = 0; i < n && !e; i++)
        e = put_row(b->q[fresh ? PUT_FRESH : PUT], &rows[i], at_us);
    if (!e)
        e = store_exec(b->db, "COMMIT");
    if (e)
        (void)store_exec(b->db, "ROLLBACK");
    return e;
}

/* The end of the range of `prefix`, exclusive; lies in `to`. */
static str range_end(str prefix, char to[PREFIX_MAX + 1])
{
    if (prefix.n)
        memcpy(to, prefix.p, prefix.n);
    to[prefix.n] = (char)0xFF;
    return (str){ to, prefix.n + 1 };
}

enum err box_list(struct box *b, struct arena *a, str prefix, str after, size_t most, struct box_row **rows, size_t *n)
{
    char end[PREFIX_MAX + 1];
    sqlite3_stmt *q = b->q[LIST];
    enum err e = ERR_STORE;
    size_t k = 0;
    if (prefix.n > PREFIX_MAX)
        return ERR_RANGE;
    struct box_row *r = arena_new(a, struct box_row, most + 1);
    if (!r)
        return ERR_LIMIT;
    if (!bind_blob(q, 1, after) || !bind_blob(q, 2, prefix) || !bind_blob(q, 3, range_end(prefix, end)) || sqlite3_bind_int64(q, 4, (int64_t)most) != SQLITE_OK)
        goto done;
    int rc;
    e = ERR_OK;
    while (!e && (rc = sqlite3_step(q)) != SQLITE_DONE) {
        e = rc == SQLITE_ROW ? column(a, q, 0, &r[k].name) : ERR_STORE;
        if (!e)
            e = column(a, q, 1, &r[k++].value);
    }
    if (!e) {
        *rows = r;
        *n = k;
    }
done:
    reset(q);
    return e;
}

enum err box_forget(struct box *b, str prefix, int64_t before_us)
{
    char end[PREFIX_MAX + 1];
    sqlite3_stmt *q = b->q[FORGET];
    if (prefix.n > PREFIX_MAX)
        return ERR_RANGE;
    bool ok = bind_blob(q, 1, prefix) && bind_blob(q, 2, range_end(prefix, end)) && sqlite3_bind_int64(q, 3, before_us) == SQLITE_OK && sqlite3_step(q) == SQLITE_DONE;
    reset(q);
    return ok ? ERR_OK : ERR_STORE;
}

enum err box_sync(struct box *b)
{
    static const int files[] = { SQLITE_FCNTL_JOURNAL_POINTER, SQLITE_FCNTL_FILE_POINTER };     /* the log, and then what it is of */
    for (int i = 0; i < 2; i++) {
        sqlite3_file *f = NULL;
        if (sqlite3_file_control(b->db, "main", files[i], &f) != SQLITE_OK || !f || !f->pMethods || f->pMethods->xSync(f, SQLITE_SYNC_NORMAL) != SQLITE_OK)
            return ERR_IO;
    }
    return ERR_OK;
}
