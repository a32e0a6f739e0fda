/* Finding a call: a whole id or its beginning by the index, the short end of one among recent rows. */
#include "cmd/lookup.h"

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

int lookup_call(struct cmd *c, struct ledger_reader *r, const char *id, struct lookup *out)
{
    *out = (struct lookup){ .a = &c->arena, .r = r, .want = str_of(id) };
    struct ledger_filter f = { .kinds = 1u << ROW_INTENT | 1u << ROW_END, .limit = 100000 };
    if (out->want.n >= 12)
        f.call_id = out->want;
    enum err e = out->want.n < 4 ? ERR_RANGE : ledger_read(r, &f, collect, out);
    if (e == ERR_RANGE)
        return cmd_fail(EXIT_USAGE, NULL, "an id has at least four characters");
    if (e != ERR_OK)
        return cmd_fail(EXIT_FAILED, "hearth verify says what is wrong with it.", "the ledger cannot be read");
    return out->n ? EXIT_DONE : cmd_fail(EXIT_MISSING, "hearth log lists calls with their ids.", "there is no call %s", id);
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
