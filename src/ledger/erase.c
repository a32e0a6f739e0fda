/* Erasing prompts and answers by whose they are. The salt lies with the body, so what stays in the chain says nothing about it. */
#include "ledger/store.h"

#include "core/json.h"

#include <stdlib.h>
#include <string.h>

struct erase_note {                     /* one piece of memory: the entry, and the texts behind it */
    struct ledger_entry entry;
    struct ledger_erase what;
    str token;
    char texts[];
};

static const char chosen[] = " FROM row WHERE kind = 1 AND (?1 IS NULL OR call_id = ?1) AND (?2 IS NULL OR key_id = ?2) AND (?3 IS NULL OR conversation = ?3)"
                             " AND (?4 IS NULL OR task = ?4) AND (?5 = 0 OR at_us < ?5)";
_Static_assert(ROW_END == 1, "the kind of the rows that have bodies");

static void bind_text(sqlite3_stmt *q, int at, str s)
{
    if (s.n)
        sqlite3_bind_text64(q, at, s.p, s.n, SQLITE_STATIC, SQLITE_UTF8);
    else
        sqlite3_bind_null(q, at);
}

static enum err detail(struct ledger *l, const struct erase_note *n, int64_t bodies, str *out)
{
    struct buf b = { .max = 1 << 16 };
    struct json_out o;
    const struct { const char *key; str value; } all[] = { { "call", n->what.call }, { "key", n->what.key }, { "conversation", n->what.conversation }, { "task", n->what.task },
                                                           { "token", n->token } };
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_put_key(&o, S("bodies"));
    json_put_i64(&o, bodies);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i].value.n) {
            json_put_key(&o, str_of(all[i].key));
            json_put_str(&o, all[i].value);
        }
    if (n->what.before_us) {
        json_put_key(&o, S("before_us"));
        json_put_i64(&o, n->what.before_us);
    }
    json_close(&o, '}');
    *out = arena_str(&l->arena, buf_str(&b));
    buf_free(&b);
    return o.err ? o.err : out->p ? ERR_OK : ERR_LIMIT;
}

/* Inside of the batch's transaction: the bodies go and the event comes, or neither. */
enum err erase_bodies(struct ledger *l, struct ledger_entry *e)
{
    struct erase_note *n = (struct erase_note *)e;
    sqlite3_stmt *q = NULL;
    char sql[1200];
    enum err err = ERR_STORE;
    snprintf(sql, sizeof sql, "DELETE FROM body WHERE id IN (SELECT request_body%s AND request_body IS NOT NULL UNION SELECT response_body%s AND response_body IS NOT NULL)", chosen, chosen);
    if (sqlite3_prepare_v2(l->db, sql, -1, &q, NULL) != SQLITE_OK)
        goto done;
    bind_text(q, 1, n->what.call);
    bind_text(q, 2, n->what.key);
    bind_text(q, 3, n->what.conversation);
    bind_text(q, 4, n->what.task);
    sqlite3_bind_int64(q, 5, n->what.before_us);
    if (sqlite3_step(q) != SQLITE_DONE)
        goto done;
    err = detail(l, n, sqlite3_changes(l->db), &e->row.detail);
    l->empty_wal = true;                /* the log still has the pages as they were: it is emptied after this batch */
done:
    sqlite3_finalize(q);
    return err;
}

static void on_done(struct ledger_entry *e, enum err err, int64_t seq)
{
    (void)err, (void)seq;
    free(e);
}

static str put(char **to, str s)
{
    str out = { *to, s.n };
    if (s.n)
        memcpy(*to, s.p, s.n);
    *to += s.n;
    return out;
}

enum err ledger_erase(struct ledger *l, const struct ledger_erase *w, str token)
{
    bool wake;
    size_t texts = w->call.n + w->key.n + w->conversation.n + w->task.n + token.n;
    if (texts == token.n && !w->before_us)
        return ERR_RANGE;
    struct erase_note *n = texts < 65536 ? calloc(1, sizeof *n + texts + 1) : NULL;
    if (!n)
        return ERR_MEMORY;
    char *at = n->texts;
    n->what = (struct ledger_erase){ put(&at, w->call), put(&at, w->key), put(&at, w->conversation), put(&at, w->task), w->before_us };
    n->token = put(&at, token);
    n->entry.on_done = on_done;
    n->entry.note = NOTE_ERASE;
    row_init(&n->entry.row, ROW_EVENT);
    n->entry.row.at_us = clock_wall_us(&l->o.clock);
    n->entry.row.event = S("bodies_erased");
    n->entry.item.bytes = sizeof *n + texts;
    enum err e = queue_put(&l->queue, &n->entry.item, false, &wake);
    if (e != ERR_OK) {
        free(n);
        return e;
    }
    queue_wake(&l->queue);
    return ERR_OK;
}
