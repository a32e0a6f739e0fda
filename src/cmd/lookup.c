/* Finding a call: a whole id or its beginning by the index, the short end of one among recent rows. */
#include "cmd/lookup.h"

#include "core/json.h"

int lookup_open(struct cmd *c, struct app_config **k, struct ledger_reader **r)
{
    char why[256] = "";
    int code = app_load(c, false, k);
    if (code)
        return code;
    enum err e = ledger_reader_open((*k)->config->ledger.path.p, r, why);
    if (e == ERR_OK)
        return EXIT_DONE;
    code = cmd_fail(EXIT_MISSING, e == ERR_NOTFOUND ? "It is made by the first: hearth serve, or hearth run \"…\"" : NULL, "%s", *why ? why : err_text(e));
    app_unload(*k);
    *k = NULL;
    return code;
}

static str keep(struct arena *a, str s) { return s.p ? arena_str(a, s) : s; }

/* Rows of the wanted call; their texts live only until the next row. */
static bool collect(void *ctx, const struct ledger_seen *s)
{
    struct lookup *w = ctx;
    if (!str_ends(s->row.call_id, w->want) && !str_starts(s->row.call_id, w->want))
        return true;
    if (w->n && !str_eq(w->rows[0].row.call_id, s->row.call_id))
        return true;
    struct ledger_seen *to = &w->rows[w->n++];
    *to = *s;
    for (size_t i = 0; i < row_n_fields; i++) {
        char *at = (char *)&to->row + row_fields[i].offset;
        if (row_fields[i].type == 'T')
            *(str *)at = keep(w->a, *(str *)at);
        else if (row_fields[i].type == 'D' && *(const struct digest **)at)
            *(const struct digest **)at = &to->digests[*(const struct digest **)at - s->digests];
    }
    return w->n < LOOKUP_ROWS;
}

enum err lookup_find(struct arena *a, struct ledger_reader *r, str id, struct lookup *out)
{
    *out = (struct lookup){ .a = a, .r = r, .want = id };
    struct ledger_filter f = { .kinds = 1u << ROW_INTENT | 1u << ROW_END, .limit = 100000 };
    if (id.n >= 12)
        f.call_id = id;
    enum err e = id.n < 4 ? ERR_RANGE : ledger_read(r, &f, collect, out);
    return e == ERR_OK && !out->n ? ERR_NOTFOUND : e;
}

int lookup_call(struct cmd *c, struct ledger_reader *r, const char *id, struct lookup *out)
{
    enum err e = lookup_find(&c->arena, r, str_of(id), out);
    if (e == ERR_RANGE)
        return cmd_fail(EXIT_USAGE, NULL, "an id has at least four characters");
    if (e == ERR_NOTFOUND)
        return cmd_fail(EXIT_MISSING, "hearth log lists calls with their ids.", "there is no call %s", id);
    return e == ERR_OK ? EXIT_DONE : cmd_fail(EXIT_FAILED, "hearth verify says what is wrong with it.", "the ledger cannot be read");
}

bool lookup_ago(const char *text, int64_t *us)
{
    int64_t ms;
    if (!text)
        return true;
    if (!clock_duration_ms(str_of(text), &ms))
        return false;
    *us = clock_wall_us(&clock_system) - ms * 1000;
    return true;
}

/* ---- lines ---- */

static void put_body(struct lookup_bodies *x, struct json_out *o, const char *name, int64_t id, bool had, bool open)
{
    struct arena a;
    str body;
    json v;
    bool cut;
    if (!had)
        return;
    arena_init(&a, 1u << 30);
    json_put_key(o, str_of(name));
    bool kept = open && id != ROW_NULL_I && ledger_read_body(x->r, &a, id, &body, &cut) == ERR_OK && str_is_utf8(body);
    if (kept && json_parse(&a, body, &JSON_DEFAULT_LIMITS, &v, NULL) == ERR_OK)
        json_put_raw(o, json_span(v));
    else if (kept)
        json_put_str(o, body);
    else
        json_put_null(o);
    x->missing += !kept;
    arena_free(&a);
}

enum err lookup_line(struct buf *b, const struct ledger_seen *s, struct lookup_bodies *bodies)
{
    struct json_out o;
    char hex[HEX_DIGEST];
    size_t from = b->n;
    enum err e = ledger_canonical(b, s);
    if (e != ERR_OK || b->n == from)
        return e;
    b->n--;                             /* its closing brace: there is more to say */
    hex_encode(s->hash.b, sizeof s->hash.b, hex);
    e = buf_printf(b, ",\"row_hash\":\"%.*s\"%s", HEX_DIGEST, hex, s->row.kind != ROW_INTENT ? "" : s->cut ? ",\"cut\":true" : ",\"running\":true");
    struct buf more = { .max = 1u << 30 };
    json_out_init(&o, &more);
    json_open(&o, '{');
    if (bodies) {
        /* Without a class it was never classified: see gate/record.c. */
        bool open = !bodies->open_only || (s->row.data_class.n && !str_eq(s->row.data_class, data_name(DATA_PRIVATE)));
        put_body(bodies, &o, "request", s->row.request_body, s->row.request_hash != NULL, open);
        put_body(bodies, &o, "response", s->row.response_body, s->row.response_hash != NULL, open);
    }
    json_close(&o, '}');
    e = e ? e : o.err;
    if (!e && more.n > 2) {
        more.p[0] = ',';
        e = buf_put(b, (str){ more.p, more.n - 1 });
    }
    buf_free(&more);
    return e ? e : buf_put(b, S("}\n"));
}

const struct ledger_row *lookup_end(const struct lookup *w)
{
    for (int i = 0; i < w->n; i++)
        if (w->rows[i].row.kind == ROW_END)
            return &w->rows[i].row;
    return &w->rows[0].row;
}

enum err lookup_body(const struct lookup *w, int64_t id, str *out, bool *truncated)
{
    *truncated = false;
    return id == ROW_NULL_I ? ERR_NOTFOUND : ledger_read_body(w->r, w->a, id, out, truncated);
}
