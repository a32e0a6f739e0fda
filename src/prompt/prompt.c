/* Reading the registry, finding in it, and putting values into a text. */
#include "prompt/prompt.h"

#include <stdio.h>

bool prompt_name_ok(str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!((s.p[i] >= '0' && s.p[i] <= '9') || ((s.p[i] | 32) >= 'a' && (s.p[i] | 32) <= 'z') || (i && memchr("._/-", s.p[i], 4))))
            return false;
    return s.n > 0 && s.n <= 100;
}

/* ---- the registry ---- */

static const struct prompt *find_version(const struct prompt_book *b, str name, int64_t version)
{
    for (size_t i = b->n; i-- > 0;)
        if (str_eq(b->list[i].name, name) && (version == 0 || b->list[i].version == version))
            return &b->list[i];
    return NULL;
}

static struct prompt_label *find_label(const struct prompt_book *b, str name, str label)
{
    for (size_t i = 0; i < b->n_labels; i++)
        if (str_eq(b->labels[i].name, name) && str_eq(b->labels[i].label, label))
            return &b->labels[i];
    return NULL;
}

static str text_of(struct arena *a, json v, const char *key)
{
    str s;
    json m = json_member(v, str_of(key));
    return json_type(m) == JSON_STRING && json_text(a, m, &s) == ERR_OK ? s : STR_NONE;
}

static const char *read_add(struct arena *a, json v, struct prompt_book *b, str name, int64_t version)
{
    struct prompt p = { .name = name, .version = version, .text = text_of(a, v, "text"), .message = text_of(a, v, "message"), .at = text_of(a, v, "at") };
    str hash = text_of(a, v, "hash");
    const struct prompt *last = find_version(b, name, 0);
    if (!p.text.p || p.text.n > PROMPT_TEXT_MAX)
        return "it has no text, or too much";
    if (version != (last ? last->version : 0) + 1)
        return "versions of a name count from 1, without a gap";
    if (!str_starts(hash, S("sha256:")) || !hex_decode(str_skip(hash, 7), p.hash.b, sizeof p.hash.b))
        return "it has no hash";
    struct digest is = sha256_of(p.text);
    if (!digest_eq(&is, &p.hash))
        return "its text is not the one that was added: the hash differs";
    b->list[b->n++] = p;
    return NULL;
}

static const char *read_label(struct arena *a, json v, struct prompt_book *b, str name, int64_t version)
{
    str label = text_of(a, v, "label");
    struct prompt_label *l = find_label(b, name, label);
    if (!label.p || !prompt_name_ok(label) || str_eq(label, S("latest")) || (label.p[0] >= '0' && label.p[0] <= '9'))
        return "a label is a name that begins with a letter, and not latest";
    if (!find_version(b, name, version))
        return "a label of a version that is not there";
    if (!l)
        l = &b->labels[b->n_labels++];
    *l = (struct prompt_label){ name, label, version, text_of(a, v, "message"), text_of(a, v, "at") };
    return NULL;
}

static const char *read_line(struct arena *a, str line, struct prompt_book *b)
{
    json v;
    int64_t version;
    if (json_parse(a, line, &JSON_DEFAULT_LIMITS, &v, NULL) != ERR_OK || json_type(v) != JSON_OBJECT)
        return "this is no JSON object";
    str op = text_of(a, v, "op"), name = text_of(a, v, "name");
    if (!prompt_name_ok(name) || !json_i64(json_member(v, S("version")), &version) || version < 1)
        return "it needs a name and a version";
    if (str_eq(op, S("add")))
        return read_add(a, v, b, name, version);
    return str_eq(op, S("label")) ? read_label(a, v, b, name, version) : "op is add or label";
}

enum err prompt_book_read(struct arena *a, str text, struct prompt_book *out, char why[200])
{
    size_t lines = 1, at = 0;
    for (size_t i = 0; i < text.n; i++)
        lines += text.p[i] == '\n';
    *why = '\0';
    *out = (struct prompt_book){ .list = arena_new(a, struct prompt, lines), .labels = arena_new(a, struct prompt_label, lines) };
    if (!out->list || !out->labels || lines > PROMPT_MAX)
        return ERR_LIMIT;
    while (text.n) {
        size_t n = str_index(text, '\n');
        str line = str_trim(str_slice(text.p, n));
        const char *what = line.n ? read_line(a, line, out) : NULL;
        at++;
        if (what) {
            snprintf(why, 200, "line %zu: %s", at, what);
            return ERR_SYNTAX;
        }
        text = str_skip(text, n + 1);
    }
    return ERR_OK;
}

const struct prompt *prompt_find(const struct prompt_book *b, str reference)
{
    size_t at = str_index(reference, '@');
    str name = str_slice(reference.p, at), which = at < reference.n ? str_skip(reference, at + 1) : S("latest");
    uint64_t version;
    if (str_eq(which, S("latest")))
        return find_version(b, name, 0);
    if (str_u64(which, &version))
        return version && version < INT64_MAX ? find_version(b, name, (int64_t)version) : NULL;
    const struct prompt_label *l = find_label(b, name, which);
    return l ? find_version(b, name, l->version) : NULL;
}

/* ---- writing ---- */

static enum err write_line(struct buf *out, const char *op, str name, str label, int64_t version, const struct digest *hash, str at, str message, str text)
{
    struct json_out o;
    char hex[HEX_DIGEST];
    json_out_init(&o, out);
    json_open(&o, '{');
    const struct { const char *key; str v; } front[] = { { "op", str_of(op) }, { "name", name }, { "label", label } };
    for (size_t i = 0; i < 3; i++)
        if (front[i].v.n) {
            json_put_key(&o, str_of(front[i].key));
            json_put_str(&o, front[i].v);
        }
    json_put_key(&o, S("version"));
    json_put_i64(&o, version);
    if (hash) {
        struct buf b = { .max = 128 };
        hex_encode(hash->b, sizeof hash->b, hex);
        (void)buf_printf(&b, "sha256:%.*s", HEX_DIGEST, hex);
        json_put_key(&o, S("hash"));
        json_put_str(&o, buf_str(&b));
        buf_free(&b);
    }
    const struct { const char *key; str v; } back[] = { { "at", at }, { "message", message }, { "text", text } };
    for (size_t i = 0; i < (hash ? 3u : 2u); i++) {
        json_put_key(&o, str_of(back[i].key));
        json_put_str(&o, back[i].v);
    }
    json_close(&o, '}');
    return o.err ? o.err : buf_putc(out, '\n');
}

enum err prompt_write_add(struct buf *out, const struct prompt_book *b, str name, str text, str message, str at)
{
    const struct prompt *last = find_version(b, name, 0);
    struct digest hash = sha256_of(text);
    return write_line(out, "add", name, STR_NONE, (last ? last->version : 0) + 1, &hash, at, message, text);
}

enum err prompt_write_label(struct buf *out, str name, str label, int64_t version, str message, str at)
{
    return write_line(out, "label", name, label, version, NULL, at, message, STR_NONE);
}

/* ---- rendering ---- */

/* The next {{name}} in `s`; false: none. What is not a name between braces is text. */
static bool next_variable(str s, str *before, str *name, str *after)
{
    for (size_t at = 0; (at += str_find(str_skip(s, at), S("{{"))) < s.n; at += 2) {
        str rest = str_skip(s, at + 2);
        size_t end = str_find(rest, S("}}"));
        *name = str_trim(str_slice(rest.p, end));
        if (end < rest.n && prompt_name_ok(*name)) {
            *before = str_slice(s.p, at);
            *after = str_skip(rest, end + 2);
            return true;
        }
    }
    return false;
}

static enum err put_values(struct arena *a, str s, json variables, struct buf *out, struct wire_error *why)
{
    str before, name, value;
    enum err e = ERR_OK;
    while (e == ERR_OK && next_variable(s, &before, &name, &s)) {
        json v = json_member(variables, name);
        enum json_type t = json_type(v);
        if (t == JSON_NONE || t == JSON_NULL) {
            *why = (struct wire_error){ ERR_SYNTAX, arena_printf(a, "the prompt needs the variable %.*s", STR_ARG(name)), S("variables") };
            return ERR_SYNTAX;
        }
        value = json_span(v);           /* of numbers and the like, their own text */
        if (t == JSON_STRING)
            e = json_text(a, v, &value);
        e = e ? e : buf_put(out, before);
        e = e ? e : buf_put(out, value);
    }
    return e ? e : buf_put(out, s);
}

/* A line "[system]" and its like. */
static bool is_head(str line, enum role *role)
{
    static const struct { str head; enum role role; } heads[] = { { S("[system]"), ROLE_SYSTEM }, { S("[user]"), ROLE_USER }, { S("[assistant]"), ROLE_ASSISTANT } };
    for (size_t i = 0; i < 3; i++)
        if (str_eq(str_trim(line), heads[i].head)) {
            *role = heads[i].role;
            return true;
        }
    return false;
}

/* Empty lines before and after a message are there for the reader. */
static str trim(str s)
{
    while (s.n && (unsigned char)s.p[0] <= ' ')
        s = str_skip(s, 1);
    while (s.n && (unsigned char)s.p[s.n - 1] <= ' ')
        s.n--;
    return s;
}

/* The next message of the text: its role and where it ends. */
static str next_part(str *text, enum role *role)
{
    enum role next;
    size_t n = str_index(*text, '\n');
    if (is_head(str_slice(text->p, n), role))
        *text = str_skip(*text, n + 1);
    str part = *text;
    for (size_t at = 0; at < part.n;) {
        size_t end = str_index(str_skip(part, at), '\n');
        if (is_head(str_slice(part.p + at, end), &next)) {
            *text = str_skip(part, at);
            return trim(str_slice(part.p, at));
        }
        at += end + 1;
    }
    *text = str_skip(part, part.n);
    return trim(part);
}

enum err prompt_variables(struct arena *a, const struct prompt *p, str **names, size_t *n)
{
    str s = p->text, before, name;
    str *list = arena_new(a, str, 1 + s.n / 5);
    *n = 0;
    if (!list)
        return ERR_LIMIT;
    while (next_variable(s, &before, &name, &s)) {
        bool known = false;
        for (size_t i = 0; i < *n && !known; i++)
            known = str_eq(list[i], name);
        if (!known)
            list[(*n)++] = name;
    }
    *names = list;
    return ERR_OK;
}

/* A value that the prompt has no place for is a mistake of whoever calls: an old version, or a wrong name. */
static enum err check_known(struct arena *a, const struct prompt *p, json variables, struct wire_error *why)
{
    str *names, key;
    size_t n;
    enum err e = prompt_variables(a, p, &names, &n);
    enum json_type t = json_type(variables);
    if (t != JSON_OBJECT && t != JSON_NONE && t != JSON_NULL) {
        *why = (struct wire_error){ ERR_SYNTAX, S("variables must be an object"), S("variables") };
        return ERR_SYNTAX;
    }
    for (json v = json_first(variables); e == ERR_OK && json_type(v) != JSON_NONE; v = json_next(v)) {
        bool known = false;
        e = json_text(a, json_key(v), &key);
        for (size_t i = 0; i < n && !known; i++)
            known = str_eq(names[i], key);
        if (e == ERR_OK && !known) {
            *why = (struct wire_error){ ERR_SYNTAX, arena_printf(a, "prompt %.*s@%lld has no variable %.*s", STR_ARG(p->name), (long long)p->version,
                                                                 (int)(key.n < 100 ? key.n : 100), key.p), S("variables") };
            return ERR_SYNTAX;
        }
    }
    return e;
}

enum err prompt_render(struct arena *a, const struct prompt *p, json variables, struct buf *out, str *system, struct wire_error *why)
{
    str rest = p->text;
    struct buf text = { .max = 64u << 20 }, systems = { .max = 64u << 20 };
    enum err e = check_known(a, p, variables, why);
    bool any = false;
    while (e == ERR_OK && rest.n) {
        enum role role = ROLE_USER;
        str part = next_part(&rest, &role);
        struct json_out o;
        buf_clear(&text);
        e = put_values(a, part, variables, &text, why);
        if (e != ERR_OK || (!part.n && role == ROLE_USER))
            continue;                   /* nothing before the first head */
        if (system && role == ROLE_SYSTEM) {
            e = systems.n ? buf_put(&systems, S("\n\n")) : ERR_OK;
            e = e ? e : buf_put(&systems, buf_str(&text));
            continue;
        }
        e = any ? buf_putc(out, ',') : ERR_OK;
        any = true;
        json_out_init(&o, out);
        json_open(&o, '{');
        json_put_key(&o, S("role"));
        json_put_str(&o, role_name(role));
        json_put_key(&o, S("content"));
        json_put_str(&o, buf_str(&text));
        json_close(&o, '}');
        e = e ? e : o.err;
    }
    if (system)
        *system = arena_str(a, buf_str(&systems));
    buf_free(&text);
    buf_free(&systems);
    return e;
}
