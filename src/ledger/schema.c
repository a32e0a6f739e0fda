/* ledger/schema.c: opening the file, and bringing an older one up to date. */
#include "ledger/store.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#define SQL_I "INTEGER"
#define SQL_F "REAL"
#define SQL_T "TEXT"
#define SQL_D "BLOB"

/* migrations[n] takes a file from version n to n + 1; never changed, only added to. */
static const char *const migrations[] = {
    "CREATE TABLE row (seq INTEGER PRIMARY KEY, schema INTEGER NOT NULL, kind INTEGER NOT NULL, hash BLOB NOT NULL"
#define X(type, name, otel, help) ", " #name " " SQL_##type
    ROW_FIELDS_1(X)
#undef X
    ") STRICT;"
    "CREATE INDEX row_call ON row (call_id, attempt, kind) WHERE call_id IS NOT NULL;"
    "CREATE TABLE body (id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, size INTEGER NOT NULL, truncated INTEGER NOT NULL,"
    " at_us INTEGER NOT NULL, salt BLOB NOT NULL, data BLOB NOT NULL) STRICT;"
    "CREATE TABLE model (fingerprint BLOB PRIMARY KEY, at_us INTEGER NOT NULL, identity TEXT NOT NULL) STRICT, WITHOUT ROWID;"
    "CREATE TABLE config (hash BLOB PRIMARY KEY, at_us INTEGER NOT NULL, text TEXT NOT NULL) STRICT, WITHOUT ROWID;",

#define X(type, name, otel, help) "ALTER TABLE row ADD COLUMN " #name " " SQL_##type ";"
    ROW_FIELDS_2(X)
#undef X
    ,
    "CREATE TABLE footprint (key BLOB PRIMARY KEY, at_us INTEGER NOT NULL, facts TEXT NOT NULL) STRICT, WITHOUT ROWID;",
};
enum { VERSION = sizeof migrations / sizeof *migrations };

enum err store_exec(sqlite3 *db, const char *sql) { return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK ? ERR_OK : ERR_STORE; }

int64_t store_int(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *q = NULL;
    int64_t v = -1;
    if (sqlite3_prepare_v2(db, sql, -1, &q, NULL) == SQLITE_OK && sqlite3_step(q) == SQLITE_ROW)
        v = sqlite3_column_int64(q, 0);
    sqlite3_finalize(q);
    return v;
}

/* SQLite counts its memory under a lock, some twenty times a call, for figures that nobody asks for. */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static void configure(void) { (void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0); }

enum err store_open_db(const char *path, const char *vfs, int flags, sqlite3 **out, char why[256])
{
    sqlite3 *db = NULL;
    pthread_once(&once, configure);
    int rc = sqlite3_open_v2(path, &db, flags | SQLITE_OPEN_NOMUTEX, vfs);
    if (rc == SQLITE_OK) {
        sqlite3_busy_timeout(db, 5000);
        sqlite3_extended_result_codes(db, 1);
        /* Reads something, so that a file that is none, or cannot be read, is found here. */
        if (store_int(db, "PRAGMA schema_version") < 0)
            rc = sqlite3_errcode(db);
    }
    if (rc != SQLITE_OK) {
        snprintf(why, 256, "the ledger %s cannot be opened: %s", path, db ? sqlite3_errmsg(db) : sqlite3_errstr(rc));
        sqlite3_close(db);
        return ERR_STORE;
    }
    *out = db;
    return ERR_OK;
}

static enum err back_up(sqlite3 *db, const char *path, int64_t version, char why[256])
{
    char to[4200];
    sqlite3 *copy = NULL;
    enum err e = ERR_STORE;
    snprintf(to, sizeof to, "%s.v%lld.bak", path, (long long)version);
    if (sqlite3_open_v2(to, &copy, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) == SQLITE_OK) {
        sqlite3_backup *b = sqlite3_backup_init(copy, "main", db, "main");
        if (b && sqlite3_backup_step(b, -1) == SQLITE_DONE)
            e = ERR_OK;
        sqlite3_backup_finish(b);
    }
    if (e)
        snprintf(why, 256, "the ledger must be brought up to date, but its copy %.150s cannot be written", to);
    sqlite3_close(copy);
    return e;
}

enum err store_migrate(sqlite3 *db, const char *path, char why[256])
{
    int64_t version = store_int(db, "PRAGMA user_version"), id = store_int(db, "PRAGMA application_id");
    if (version > VERSION) {
        snprintf(why, 256, "the ledger %.150s was written by a newer hearth (schema %lld, this one knows %d)", path, (long long)version, VERSION);
        return ERR_STORE;
    }
    if (version < 0 || ((version > 0 || store_int(db, "SELECT count(*) FROM sqlite_schema") > 0) && id != LEDGER_APPLICATION_ID)) {
        snprintf(why, 256, "%.200s is a database, but not a ledger of hearth", path);
        return ERR_STORE;
    }
    if (version > 0 && version < VERSION && back_up(db, path, version, why) != ERR_OK)
        return ERR_STORE;
    for (int64_t v = version; v < VERSION; v++) {
        char set[96];
        snprintf(set, sizeof set, "PRAGMA application_id = %d; PRAGMA user_version = %lld", LEDGER_APPLICATION_ID, (long long)v + 1);
        if (store_exec(db, "BEGIN IMMEDIATE") || store_exec(db, migrations[v]) || store_exec(db, set) || store_exec(db, "COMMIT")) {
            snprintf(why, 256, "the ledger %.100s cannot be written: %.100s", path, sqlite3_errmsg(db));
            (void)store_exec(db, "ROLLBACK");
            return ERR_STORE;
        }
    }
    return ERR_OK;
}

enum err store_head(sqlite3 *db, int64_t *seq, struct digest *head)
{
    sqlite3_stmt *q = NULL;
    enum err e = ERR_STORE;
    if (sqlite3_prepare_v2(db, "SELECT seq, hash FROM row ORDER BY seq DESC LIMIT 1", -1, &q, NULL) != SQLITE_OK)
        goto done;
    int rc = sqlite3_step(q);
    if (rc == SQLITE_DONE) {
        *seq = 0;
        memset(head, 0, sizeof *head);
        e = ERR_OK;
    } else if (rc == SQLITE_ROW && sqlite3_column_bytes(q, 1) == 32) {
        *seq = sqlite3_column_int64(q, 0);
        memcpy(head->b, sqlite3_column_blob(q, 1), 32);
        e = ERR_OK;
    }
done:
    sqlite3_finalize(q);
    return e;
}

/* Bodies that were erased count, too: the id of one may stand in a row for ever, so it is never given to another. They rise with the rows, so the
 * last row that names one names the highest. */
int64_t store_last_body(sqlite3 *db)
{
    return store_int(db, "SELECT max(coalesce((SELECT max(id) FROM body), 0), coalesce((SELECT max(coalesce(request_body, 0), coalesce(response_body, 0)) FROM row"
                         " WHERE request_body IS NOT NULL OR response_body IS NOT NULL ORDER BY seq DESC LIMIT 1), 0))");
}
