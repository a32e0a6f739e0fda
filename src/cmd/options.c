/* The walks over tables of options. */
#include "cmd/options.h"

#include "core/clock.h"

#include <math.h>
#include <stdio.h>

static void *field(const void *base, const struct option *o) { return (char *)(uintptr_t)base + o->offset; }

/* ---- values ---- */

/* "${NAME}" and "${NAME:-default}" anywhere in a text. */
static enum err expand(struct option_reader *r, const struct yaml_node *n, str text, str *out)
{
    struct buf b;
    enum err e = ERR_OK;
    buf_init(&b, 1 << 20);
    while (text.n && !e) {
        size_t at = str_find(text, S("${")), end = str_index(str_skip(text, at), '}');
        e = buf_put(&b, (str){ text.p, at });
        text = str_skip(text, at);
        if (!text.n || end >= text.n)
            break;
        str inside = { text.p + 2, end - 2 }, name = inside, fallback = STR_NONE;
        size_t sep = str_find(inside, S(":-"));
        bool has_default = sep < inside.n;
        if (has_default) {
            name = (str){ inside.p, sep };
            fallback = str_skip(inside, sep + 2);
        }
        char *key = arena_cstr(r->a, name);
        const char *value = key ? r->env->var(r->env->ctx, key) : NULL;
        if (!value && !has_default)
            yaml_complain(r->report, n->at, "the environment has no %.*s", STR_ARG(name));
        if (!e)
            e = buf_put(&b, value ? str_of(value) : fallback);
        text = str_skip(text, end + 1);
    }
    if (!e)
        e = buf_put(&b, text);
    char *copy = e ? NULL : arena_cstr(r->a, buf_str(&b));
    *out = (str){ copy, b.n };
    buf_free(&b);
    return copy ? ERR_OK : ERR_LIMIT;
}

enum err option_text(struct option_reader *r, const struct yaml_node *n, str *out) { return expand(r, n, n->text, out); }

enum err option_path(struct option_reader *r, str path, str *out)
{
    const char *home = r->env->var(r->env->ctx, "HOME");
    char *copy;
    if (str_starts(path, S("/")))
        copy = arena_cstr(r->a, path);
    else if (str_starts(path, S("~/")) && home)
        copy = arena_cstr(r->a, arena_printf(r->a, "%s/%.*s", home, STR_ARG(str_skip(path, 2))));
    else
        copy = arena_cstr(r->a, arena_printf(r->a, "%.*s/%.*s", STR_ARG(r->dir), STR_ARG(path)));
    *out = str_of(copy);
    return copy ? ERR_OK : ERR_LIMIT;
}

bool option_size(str s, size_t *out)
{
    static const struct { str unit; uint64_t bytes; } units[] = { { S("KiB"), 1 << 10 }, { S("MiB"), 1 << 20 }, { S("GiB"), 1 << 30 },
                                                                  { S("KB"), 1000 }, { S("MB"), 1000000 }, { S("GB"), 1000000000 }, { S(""), 1 } };
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        uint64_t v;
        if (!str_ends(s, units[i].unit))
            continue;
        if (!str_u64(str_trim((str){ s.p, s.n - units[i].unit.n }), &v) || v > (UINT64_C(1) << 40) / units[i].bytes)
            return false;
        *out = v * units[i].bytes;
        return true;
    }
    return false;
}

static bool parse_word(const struct option *o, str s, int *out)
{
    for (int i = 0; o->words[i]; i++)
        if (str_eq(s, str_of(o->words[i]))) {
            *out = i;
            return true;
        }
    return false;
}

static bool parse_money(str s, double *out)
{
    char text[32], *end;
    if (!s.n || s.n >= sizeof text || s.n > 20)
        return false;
    for (size_t i = 0; i < s.n; i++)
        if ((s.p[i] < '0' || s.p[i] > '9') && s.p[i] != '.')
            return false;
    memcpy(text, s.p, s.n);
    text[s.n] = '\0';
    *out = strtod(text, &end);
    return !*end;
}

static bool parse_url(str s)
{
    struct http_origin o;
    return http_origin_parse(s, &o) == ERR_OK;
}

/* What `o` wants, for a sentence that says that it was something else. */
static void wanted(const struct option *o, char out[200])
{
    static const char *const want[] = {
        [OPTION_BOOL] = "true or false", [OPTION_SIZE] = "a size such as 64MiB", [OPTION_DURATION] = "a time such as 30s", [OPTION_MONEY] = "an amount such as 2.50",
        [OPTION_ADDRESS] = "an address such as 127.0.0.1:8420", [OPTION_URL] = "a URL such as http://127.0.0.1:8000/v1", [OPTION_PROXY] = "a proxy's URL, or env",
        [OPTION_SECRET] = "a reference to the environment such as ${OPENAI_API_KEY}: keys do not stand in the file", [OPTION_TEXT] = "a text", [OPTION_PATH] = "a path",
        [OPTION_LIST] = "a text, or a list of texts", [OPTION_TRUTH] = "true or false",
    };
    size_t n = 0;
    if (o->type == OPTION_INT) {
        snprintf(out, 200, "a number from %lld to %lld", (long long)o->min, (long long)o->max);
        return;
    }
    if (o->type != OPTION_WORD) {
        snprintf(out, 200, "%s", want[o->type] ? want[o->type] : "something else");
        return;
    }
    for (int i = 0; o->words[i]; i++)
        n += (size_t)snprintf(out + n, 200 - n, "%s%s", i == 0 ? "" : o->words[i + 1] ? ", " : " or ", o->words[i]);
}

static bool set_number(const struct option *o, str s, void *to)
{
    int64_t i;
    switch (o->type) {
    case OPTION_BOOL:
        *(bool *)to = str_eq(s, S("true"));
        return str_eq(s, S("true")) || str_eq(s, S("false"));
    case OPTION_TRUTH:
        *(int *)to = str_eq(s, S("true"));
        return str_eq(s, S("true")) || str_eq(s, S("false"));
    case OPTION_INT:
        if (!str_i64(s, &i) || i < o->min || i > o->max)
            return false;
        *(int64_t *)to = i;
        return true;
    case OPTION_SIZE:     return option_size(s, to) && (!o->max || *(size_t *)to <= (size_t)o->max) && *(size_t *)to >= (size_t)o->min;
    case OPTION_DURATION: return clock_duration_ms(s, to);
    case OPTION_MONEY:    return parse_money(s, to);
    case OPTION_WORD:     return parse_word(o, s, to);
    default:              return false;
    }
}

/* *ok false: not what the option wants. */
static enum err set(struct option_reader *r, const struct option *o, str s, void *to, bool *ok)
{
    struct io_addr a;
    *ok = true;
    switch (o->type) {
    case OPTION_TEXT:    *(str *)to = s; *ok = s.n > 0; return ERR_OK;
    case OPTION_PATH:    *ok = s.n > 0; return option_path(r, s, to);
    case OPTION_ADDRESS: *(str *)to = s; *ok = io_addr_parse(s, &a) == ERR_OK; return ERR_OK;
    case OPTION_URL:     *(str *)to = s; *ok = parse_url(s); return ERR_OK;
    case OPTION_PROXY:   *(str *)to = s; *ok = str_eq(s, S("env")) || parse_url(s); return ERR_OK;
    default:             *ok = set_number(o, s, to); return ERR_OK;
    }
}

static enum err set_secret(struct option_reader *r, const struct yaml_node *n, struct option_secret *to, bool *ok)
{
    str t = n->text;
    *ok = str_starts(t, S("${")) && t.p[t.n - 1] == '}' && str_find(t, S(":-")) == t.n && str_find(str_skip(t, 2), S("${")) == t.n - 2;
    if (!*ok)
        return ERR_OK;
    to->variable = (str){ t.p + 2, t.n - 3 };
    enum err e = expand(r, n, t, &to->value);
    for (size_t i = 0; !e && i < to->value.n; i++)
        if ((unsigned char)to->value.p[i] <= ' ' || (unsigned char)to->value.p[i] >= 0x7F) {
            yaml_complain(r->report, n->at, "the key in %.*s holds a byte that no key has", STR_ARG(to->variable));
            to->value = STR_NONE;
        }
    return e;
}

/* ---- reading ---- */

static size_t distance(str a, str b)
{
    size_t row[40];
    if (a.n >= 38 || b.n >= 38)
        return 99;
    for (size_t j = 0; j <= b.n; j++)
        row[j] = j;
    for (size_t i = 1; i <= a.n; i++) {
        size_t corner = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b.n; j++) {
            size_t up = row[j], best = corner + (a.p[i - 1] != b.p[j - 1]);
            best = up + 1 < best ? up + 1 : best;
            best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            corner = up;
            row[j] = best;
        }
    }
    return row[b.n];
}

void option_hint(str word, const char *const *words, size_t n, char out[OPTION_HINT])
{
    size_t best = 3;
    *out = '\0';
    for (size_t i = 0; i < n; i++) {
        size_t d = distance(word, str_of(words[i]));
        if (d < best && d < strlen(words[i])) {
            best = d;
            snprintf(out, OPTION_HINT, " (did you mean %s?)", words[i]);
        }
    }
}

static enum err unknown_key(struct option_reader *r, const struct option *table, size_t n, const struct yaml_node *m, const char *const *also)
{
    const char *words[64];
    size_t k = 0;
    char hint[OPTION_HINT];
    for (size_t i = 0; also && also[i]; i++) {
        if (str_eq(m->key, str_of(also[i])))
            return ERR_OK;
        words[k++] = also[i];
    }
    for (size_t i = 0; i < n; i++)
        words[k++] = table[i].key;
    option_hint(m->key, words, k, hint);
    yaml_complain(r->report, m->key_at, "there is no option %.*s here%s", STR_ARG(m->key), hint);
    return ERR_OK;
}

/* Of a list, or the one text that stands in place of it. */
static enum err set_list(struct option_reader *r, const struct yaml_node *n, struct option_list *to, bool *ok)
{
    const struct yaml_node *m = n->kind == YAML_LIST ? n->first : n;
    size_t max = n->kind == YAML_LIST ? n->n : 1;
    *to = (struct option_list){ arena_new(r->a, str, max + 1), 0 };
    if (!to->v)
        return ERR_LIMIT;
    for (; m && *ok && to->n < max; m = m->next) {
        *ok = m->kind == YAML_SCALAR && !yaml_is_null(m);
        enum err e = *ok ? option_text(r, m, &to->v[to->n]) : ERR_OK;
        if (e)
            return e;
        str s = *ok ? to->v[to->n++] : STR_NONE;
        *ok = s.n > 0 && s.n < 4096;
        for (size_t i = 0; i < s.n && *ok; i++)
            *ok = (unsigned char)s.p[i] >= ' ' && s.p[i] != 0x7F;
    }
    return ERR_OK;
}

static enum err read_one(struct option_reader *r, const struct option *o, const struct yaml_node *m, void *to)
{
    char want[200];
    bool ok = m->kind == YAML_SCALAR && !yaml_is_null(m);
    str text = STR_NONE;
    enum err e = ERR_OK;
    if (o->type == OPTION_IGNORED)
        return ERR_OK;
    if (o->type == OPTION_LIST) {
        ok = m->kind != YAML_MAP;
        e = ok ? set_list(r, m, to, &ok) : ERR_OK;
    } else if (ok && o->type == OPTION_SECRET)
        e = set_secret(r, m, to, &ok);
    else if (ok && !(e = option_text(r, m, &text)))
        e = set(r, o, text, to, &ok);
    if (!e && !ok) {
        wanted(o, want);
        yaml_complain(r->report, m->at, "%s must be %s", o->key, want);
    }
    return e;
}

enum err option_list_read(struct option_reader *r, const char *key, const struct yaml_node *n, struct option_list *out)
{
    const struct option o = { .key = key, .type = OPTION_LIST };
    return read_one(r, &o, n, out);
}

enum err option_read(struct option_reader *r, const struct option *table, size_t n, const struct yaml_node *map, const char *const *also, void *base)
{
    enum err e = ERR_OK;
    bool ok;
    for (size_t i = 0; i < n && !e; i++) {
        if (table[i].type == OPTION_MONEY)
            *(double *)field(base, &table[i]) = NAN;
        if (table[i].type == OPTION_WORD || table[i].type == OPTION_TRUTH)
            *(int *)field(base, &table[i]) = -1;
        if (table[i].def)
            e = set(r, &table[i], str_of(table[i].def), field(base, &table[i]), &ok);
    }
    if (map && map->kind != YAML_MAP && !yaml_is_null(map)) {
        yaml_complain(r->report, map->at, "this must be a map of options");
        return e;
    }
    for (const struct yaml_node *m = map && map->kind == YAML_MAP ? map->first : NULL; m && !e; m = m->next) {
        const struct option *o = NULL;
        for (size_t i = 0; i < n && !o; i++)
            o = str_eq(m->key, str_of(table[i].key)) ? &table[i] : NULL;
        e = o ? read_one(r, o, m, field(base, o)) : unknown_key(r, table, n, m, also);
    }
    return e;
}

/* ---- writing ---- */

static void indent(struct option_writer *w)
{
    for (int i = 0; i < w->depth; i++)
        (void)buf_put(w->yaml, S("  "));
}

/* Line breaks, of which YAML 1.1 has five, would be folded; spaces around them are lost. */
static const struct { str raw, escaped; } escapes[] = {
    { S("\n"), S("\\n") }, { S("\r"), S("\\r") }, { S("\t"), S("\\t") }, { S("\\"), S("\\\\") }, { S("\""), S("\\\"") },
    { S("\xC2\x85"), S("\\N") }, { S("\xE2\x80\xA8"), S("\\L") }, { S("\xE2\x80\xA9"), S("\\P") },
};

static void double_quoted(struct buf *b, str s)
{
    (void)buf_putc(b, '"');
    for (size_t i = 0, n; i < s.n; i += n) {
        str put = { s.p + i, 1 };
        n = 1;
        for (size_t k = 0; k < sizeof escapes / sizeof *escapes; k++)
            if (str_starts(str_skip(s, i), escapes[k].raw)) {
                n = escapes[k].raw.n;
                put = escapes[k].escaped;
            }
        (void)buf_put(b, put);
    }
    (void)buf_putc(b, '"');
}

static bool has_break(str s)
{
    static const str breaks[] = { S("\n"), S("\r"), S("\xC2\x85"), S("\xE2\x80\xA8"), S("\xE2\x80\xA9") };
    for (size_t i = 0; i < sizeof breaks / sizeof *breaks; i++)
        if (str_find(s, breaks[i]) < s.n)
            return true;
    return false;
}

/* A key or a value in quotes, unless it is a plain word. */
static void yaml_scalar(struct buf *b, str s)
{
    if (has_break(s)) {
        double_quoted(b, s);
        return;
    }
    bool plain = s.n > 0;
    for (size_t i = 0; i < s.n && plain; i++) {
        char c = s.p[i];
        plain = (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || (i && (c == '-' || c == '_' || c == '.' || c == '/')) || c == '/';
    }
    if (plain && !str_ieq(s, S("null"))) {
        (void)buf_put(b, s);
        return;
    }
    (void)buf_put(b, S("'"));
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '\'')
            (void)buf_putc(b, '\'');
        (void)buf_putc(b, s.p[i]);
    }
    (void)buf_put(b, S("'"));
}

void option_open(struct option_writer *w, str key)
{
    indent(w);
    yaml_scalar(w->yaml, key);
    (void)buf_put(w->yaml, S(":\n"));
    w->depth++;
    json_put_key(w->json, key);
    json_open(w->json, '{');
}

void option_close(struct option_writer *w)
{
    w->depth--;
    json_close(w->json, '}');
}

void option_put(struct option_writer *w, str key, str value, bool is_number)
{
    indent(w);
    yaml_scalar(w->yaml, key);
    (void)buf_put(w->yaml, S(": "));
    yaml_scalar(w->yaml, value);
    (void)buf_put(w->yaml, S("\n"));
    json_put_key(w->json, key);
    if (is_number)
        json_put_raw(w->json, value);
    else
        json_put_str(w->json, value);
}

void option_put_list(struct option_writer *w, str key, const struct option_list *l)
{
    indent(w);
    yaml_scalar(w->yaml, key);
    (void)buf_put(w->yaml, S(": ["));
    json_put_key(w->json, key);
    json_open(w->json, '[');
    for (size_t i = 0; i < l->n; i++) {
        (void)buf_put(w->yaml, i ? S(", ") : S(""));
        double_quoted(w->yaml, l->v[i]);        /* a plain one could hold a comma */
        json_put_str(w->json, l->v[i]);
    }
    (void)buf_put(w->yaml, S("]\n"));
    json_close(w->json, ']');
}

/* Without an exponent, which parse_money() does not read. */
static void put_money(struct option_writer *w, const struct option *o, double v)
{
    char text[64];
    int n = snprintf(text, sizeof text, "%.9f", v);
    while (n > 1 && text[n - 1] == '0')
        n--;
    n -= text[n - 1] == '.';
    option_put(w, str_of(o->key), str_slice(text, (size_t)n), true);
}

static void put_printf(struct option_writer *w, const struct option *o, bool is_number, const char *fmt, ...)
{
    char text[64];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    option_put(w, str_of(o->key), str_of(text), is_number);
}

void option_write(struct option_writer *w, const struct option *table, size_t n, const void *base)
{
    for (size_t i = 0; i < n; i++) {
        const struct option *o = &table[i];
        const void *at = field(base, o);
        switch (o->type) {
        case OPTION_BOOL:     option_put(w, str_of(o->key), *(const bool *)at ? S("true") : S("false"), true); break;
        case OPTION_INT:      put_printf(w, o, true, "%lld", (long long)*(const int64_t *)at); break;
        case OPTION_SIZE:     put_printf(w, o, true, "%zu", *(const size_t *)at); break;
        case OPTION_DURATION:
            if (*(const int64_t *)at)
                put_printf(w, o, false, "%lldms", (long long)*(const int64_t *)at);
            break;
        case OPTION_MONEY:
            if (!isnan(*(const double *)at))
                put_money(w, o, *(const double *)at);
            break;
        case OPTION_WORD:
            if (*(const int *)at >= 0)
                option_put(w, str_of(o->key), str_of(o->words[*(const int *)at]), false);
            break;
        case OPTION_TRUTH:
            if (*(const int *)at >= 0)
                option_put(w, str_of(o->key), *(const int *)at ? S("true") : S("false"), true);
            break;
        case OPTION_LIST:
            if (((const struct option_list *)at)->n)
                option_put_list(w, str_of(o->key), at);
            break;
        case OPTION_SECRET:
            if (((const struct option_secret *)at)->variable.n)
                put_printf(w, o, false, "${%.*s}", STR_ARG(((const struct option_secret *)at)->variable));
            break;
        case OPTION_IGNORED:
            break;
        default:
            if (((const str *)at)->n)
                option_put(w, str_of(o->key), *(const str *)at, false);
        }
    }
}

void option_manual(struct buf *b, const char *title, const char *about, const struct option *table, size_t n)
{
    (void)buf_printf(b, "\n## %s\n\n%s\n\n| key | value | default | |\n|---|---|---|---|\n", title, about);
    for (size_t i = 0; i < n; i++) {
        char want[200];
        if (table[i].type == OPTION_IGNORED)
            snprintf(want, sizeof want, "anything");
        else
            wanted(&table[i], want);
        (void)buf_printf(b, "| `%s` | %s | %s%s%s | %s |\n", table[i].key, want, table[i].def ? "`" : "", table[i].def ? table[i].def : "none", table[i].def ? "`" : "",
                         table[i].help);
    }
}
