/* ledger/insert.c: how a row comes into its table.
 *
 * The table has some ninety columns, of which an intent fills twenty and an end forty. A statement with a parameter for each of them would have
 * SQLite copy ninety values a row, most of them NULL, which is a tenth of what a call costs. So there is one for each set of fields that occurs:
 * the few that calls of the same kind share. */
#include "ledger/store.h"

#include <stdio.h>

static bool is_shape(const struct insert_shape *s, const struct row_part *parts, size_t n)
{
    size_t i = 0;
    if (!s->q || s->n != n)
        return false;
    while (i < n && s->fields[i] == parts[i].field)
        i++;
    return i == n;
}

static sqlite3_stmt *prepare(sqlite3 *db, const struct row_part *parts, size_t n)
{
    char sql[8192];
    sqlite3_stmt *q = NULL;
    size_t used = (size_t)snprintf(sql, sizeof sql, "INSERT INTO row (seq, schema, kind, hash");
    for (size_t i = 0; i < n; i++)
        used += (size_t)snprintf(sql + used, sizeof sql - used, ", %s", row_fields[parts[i].field].name);
    used += (size_t)snprintf(sql + used, sizeof sql - used, ") VALUES (?1, ?2, ?3, ?4");
    for (size_t i = 0; i < n; i++)
        used += (size_t)snprintf(sql + used, sizeof sql - used, ", ?%zu", i + 5);
    snprintf(sql + used, sizeof sql - used, ")");
    return sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &q, NULL) == SQLITE_OK ? q : NULL;
}

sqlite3_stmt *insert_statement(struct inserter *in, sqlite3 *db, const struct row_part *parts, size_t n)
{
    struct insert_shape *oldest = &in->shapes[0];
    in->now++;
    for (size_t i = 0; i < INSERT_SHAPES; i++) {
        struct insert_shape *s = &in->shapes[i];
        if (is_shape(s, parts, n)) {
            s->used = in->now;
            return s->q;
        }
        if (s->used < oldest->used)
            oldest = s;
    }
    sqlite3_stmt *q = prepare(db, parts, n);
    if (!q)
        return NULL;
    sqlite3_finalize(oldest->q);
    *oldest = (struct insert_shape){ .q = q, .used = in->now, .n = (uint8_t)n };
    for (size_t i = 0; i < n; i++)
        oldest->fields[i] = parts[i].field;
    return q;
}

void insert_close(struct inserter *in)
{
    for (size_t i = 0; i < INSERT_SHAPES; i++)
        sqlite3_finalize(in->shapes[i].q);
}
