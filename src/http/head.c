/* http/head.c: the strict head parser. A head is looked for whole first (its end is remembered between calls), then cut into
 * lines; every rule of RFC 9112 whose breach makes two readers disagree is an error here. */
#include "http/head.h"

#include "core/arena.h"

static enum err bad(struct http_head_error *why, int status, const char *what)
{
    if (why)
        *why = (struct http_head_error){ status, what };
    return ERR_SYNTAX;
}

const bool http_tchar[256] = {
    ['!'] = 1, ['#'] = 1, ['$'] = 1, ['%'] = 1, ['&'] = 1, ['\''] = 1, ['*'] = 1, ['+'] = 1, ['-'] = 1, ['.'] = 1, ['^'] = 1, ['_'] = 1, ['`'] = 1,
    ['|'] = 1, ['~'] = 1, ['0' ... '9'] = 1, ['a' ... 'z'] = 1, ['A' ... 'Z'] = 1,
};

static bool is_token(str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!http_tchar[(unsigned char)s.p[i]])
            return false;
    return s.n > 0;
}

static bool is_value(str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!http_is_vchar((unsigned char)s.p[i]))
            return false;
    return true;
}

/* ---- the frame ---- */

/* The end of the head: the byte after CRLFCRLF. A bare CR or LF anywhere in it is refused as soon as it is seen. */
static enum err find_end(str in, size_t *scanned, size_t *size, struct http_head_error *why)
{
    size_t i = *scanned;
    while (i < in.n) {
        const char *lf = memchr(in.p + i, '\n', in.n - i);
        if (!lf)
            break;
        size_t at = (size_t)(lf - in.p);
        if (at >= HTTP_MAX_HEAD)
            break;
        if (!at || in.p[at - 1] != '\r')
            return bad(why, 400, "a line of the head ends without CRLF");
        if (at >= 3 && in.p[at - 2] == '\n') {
            *size = at + 1;
            return ERR_OK;
        }
        if (at == 1)
            return bad(why, 400, "an empty line where the request line should be");
        i = at + 1;
    }
    *scanned = i;
    return in.n >= HTTP_MAX_HEAD ? bad(why, 431, "the head is larger than 32 KiB") : ERR_AGAIN;
}

static str next_line(str *head)
{
    const char *lf = memchr(head->p, '\n', head->n);
    str line = { head->p, (size_t)(lf - head->p) - 1 };
    *head = str_skip(*head, line.n + 2);
    return line;
}

static enum err fields(str rest, struct http_head *h, struct http_head_error *why)
{
    h->n_fields = 0;
    while (rest.n > 2) {
        str line = next_line(&rest), name, value;
        if (line.p[0] == ' ' || line.p[0] == '\t')
            return bad(why, 400, "a folded field");
        if (!str_cut(line, ':', &name, &value) || !is_token(name))
            return bad(why, 400, "a field without a proper name");
        value = str_trim(value);
        if (!is_value(value))
            return bad(why, 400, "a control byte in a field");
        if (h->n_fields == HTTP_MAX_FIELDS)
            return bad(why, 431, "more than 100 fields");
        h->fields[h->n_fields++] = (struct http_field){ name, value };
    }
    return ERR_OK;
}

/* ---- what the fields mean ---- */

str http_get(const struct http_head *h, str name)
{
    for (size_t i = 0; i < h->n_fields; i++)
        if (str_ieq(h->fields[i].name, name))
            return h->fields[i].value;
    return STR_NONE;
}

size_t http_count(const struct http_head *h, str name)
{
    size_t n = 0;
    for (size_t i = 0; i < h->n_fields; i++)
        n += str_ieq(h->fields[i].name, name);
    return n;
}

bool http_has_token(str value, str token)
{
    while (value.n) {
        str item;
        str_cut(value, ',', &item, &value);
        if (str_ieq(str_trim(item), token))
            return true;
    }
    return false;
}

void http_head_rebase(struct http_head *h, const char *from, const char *to)
{
    str *all[] = { &h->method, &h->target, &h->path, &h->query, &h->host };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i]->p)
            all[i]->p = to + (all[i]->p - from);
    for (size_t i = 0; i < h->n_fields; i++) {
        h->fields[i].name.p = to + (h->fields[i].name.p - from);
        if (h->fields[i].value.p)
            h->fields[i].value.p = to + (h->fields[i].value.p - from);
    }
}

/* RFC 9112 6: how long the body is. `none`: what it is when no field says. */
static enum err framing(struct http_head *h, enum http_body none, struct http_head_error *why)
{
    size_t te = http_count(h, S("transfer-encoding")), cl = http_count(h, S("content-length"));
    h->body = none;
    h->length = 0;
    if (te && cl)
        return bad(why, 400, "both Content-Length and Transfer-Encoding");
    if (te > 1 || cl > 1)
        return bad(why, 400, "the length of the body is given twice");
    if (te) {
        if (h->minor == 0)
            return bad(why, 400, "Transfer-Encoding in HTTP/1.0");
        if (!str_ieq(http_get(h, S("transfer-encoding")), S("chunked")))
            return bad(why, 501, "a transfer coding other than chunked");
        h->body = HTTP_BODY_CHUNKED;
    }
    if (cl) {
        str v = http_get(h, S("content-length"));
        if (!str_u64(v, &h->length) || h->length > INT64_MAX)
            return bad(why, 400, "Content-Length is not a number");
        h->body = HTTP_BODY_LENGTH;
    }
    return ERR_OK;
}

static void connection(struct http_head *h)
{
    bool close = false, keep = false;
    for (size_t i = 0; i < h->n_fields; i++)
        if (str_ieq(h->fields[i].name, S("connection"))) {
            close |= http_has_token(h->fields[i].value, S("close"));
            keep |= http_has_token(h->fields[i].value, S("keep-alive"));
        }
    h->keep_alive = !close && (h->minor == 1 || keep);
}

/* ---- requests ---- */

/* uri-host [":" port] by RFC 3986, as far as it can be told apart from something else without resolving it. */
static bool is_host(str s)
{
    static const char other[] = "-._~!$&'()*+,;=%";
    size_t i = 0;
    if (s.n && s.p[0] == '[') {
        for (i = 1; i < s.n && s.p[i] != ']'; i++)
            if (!memchr("0123456789abcdefABCDEF:.", s.p[i], 24))
                return false;
        if (i == s.n || i == 1)
            return false;
        i++;
    } else {
        for (; i < s.n && s.p[i] != ':'; i++) {
            char c = s.p[i];
            bool alnum = (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z');
            if (!alnum && !memchr(other, c, sizeof other - 1))
                return false;
        }
        if (!i)
            return false;
    }
    if (i == s.n)
        return true;
    uint64_t port;
    return s.p[i] == ':' && (i + 1 == s.n || (str_u64(str_skip(s, i + 1), &port) && port <= 65535));
}

static enum err request_line(str line, struct http_head *h, struct http_head_error *why)
{
    static const str known[] = { S("GET"), S("POST"), S("HEAD"), S("PUT"), S("DELETE"), S("OPTIONS"), S("PATCH"), S("TRACE"), S("CONNECT") };
    str rest, version;
    if (!str_cut(line, ' ', &h->method, &rest) || !is_token(h->method))
        return bad(why, 400, "the request line is not METHOD TARGET VERSION");
    if (!str_cut(rest, ' ', &h->target, &version) || !h->target.n)
        return bad(why, 400, "the request line is not METHOD TARGET VERSION");
    if (h->target.n > HTTP_MAX_TARGET)
        return bad(why, 414, "the target is longer than 8 KiB");
    if (!str_starts(version, S("HTTP/")) || version.n != 8 || version.p[6] != '.' || version.p[5] < '0' || version.p[5] > '9' || version.p[7] < '0' ||
        version.p[7] > '9')
        return bad(why, 400, "the request line is not METHOD TARGET VERSION");
    if (version.p[5] != '1' || version.p[7] > '1')
        return bad(why, 505, "only HTTP/1.0 and HTTP/1.1 are spoken here");
    h->minor = version.p[7] - '0';
    bool is_known = false;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        is_known |= str_eq(h->method, known[i]);
    if (!is_known)
        return bad(why, 501, "an unknown method");
    for (size_t i = 0; i < h->target.n; i++)
        if ((unsigned char)h->target.p[i] <= ' ' || (unsigned char)h->target.p[i] >= 0x7F)
            return bad(why, 400, "a byte in the target that must be escaped");
    /* Only the origin form is for servers that are no proxies; "*" is asked of the whole server. */
    if (h->target.p[0] != '/' && !str_eq(h->target, S("*")))
        return bad(why, 400, "the target must begin with a slash");
    str_cut(h->target, '?', &h->path, &h->query);
    return ERR_OK;
}

enum err http_parse_request(str in, size_t *scanned, struct http_head *h, struct http_head_error *why)
{
    size_t size;
    enum err e = find_end(in, scanned, &size, why);
    if (e)
        return e;
    str head = { in.p, size };
    str line = next_line(&head);
    h->status = 0;
    h->size = size;
    if ((e = request_line(line, h, why)) || (e = fields(head, h, why)))
        return e;
    size_t hosts = http_count(h, S("host"));
    h->host = http_get(h, S("host"));
    if (hosts > 1 || (hosts ? !is_host(h->host) : h->minor == 1))
        return bad(why, 400, "exactly one valid Host is needed");
    if ((e = framing(h, HTTP_BODY_NONE, why)))
        return e;
    connection(h);
    h->expect_continue = str_ieq(http_get(h, S("expect")), S("100-continue")) && h->minor == 1;
    if (http_count(h, S("expect")) && !h->expect_continue && h->minor == 1)
        return bad(why, 417, "an expectation other than 100-continue");
    return ERR_OK;
}

/* ---- replies ---- */

static enum err status_line(str line, struct http_head *h, struct http_head_error *why)
{
    uint64_t status;
    if (line.n < 12 || !str_starts(line, S("HTTP/1.")) || (line.p[7] != '0' && line.p[7] != '1') || line.p[8] != ' ')
        return bad(why, 502, "not an HTTP/1 reply");
    if (!str_u64((str){ line.p + 9, 3 }, &status) || status < 100 || (line.n > 12 && line.p[12] != ' ') || !is_value(line))
        return bad(why, 502, "the status line is not valid");
    h->minor = line.p[7] - '0';
    h->status = (int)status;
    return ERR_OK;
}

enum err http_parse_reply(str in, size_t *scanned, bool to_head, struct http_head *h, struct http_head_error *why)
{
    size_t size;
    enum err e = find_end(in, scanned, &size, why);
    if (e)
        return e;
    str head = { in.p, size };
    str line = next_line(&head);
    h->method = h->target = h->path = h->query = h->host = STR_NONE;
    h->expect_continue = false;
    h->size = size;
    if ((e = status_line(line, h, why)) || (e = fields(head, h, why)) || (e = framing(h, HTTP_BODY_UNTIL_CLOSE, why)))
        return e;
    connection(h);
    if (to_head || h->status < 200 || h->status == 204 || h->status == 304) {
        h->body = HTTP_BODY_NONE;
        h->length = 0;
    }
    if (h->body == HTTP_BODY_UNTIL_CLOSE)
        h->keep_alive = false;
    return ERR_OK;
}

/* ---- paths ---- */

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

/* Escapes resolved, no control bytes. `plus`: "+" is a space. */
static enum err unescape(struct arena *a, str in, bool plus, str *out)
{
    char *to = arena_alloc(a, in.n, 1);
    size_t n = 0;
    if (!to)
        return ERR_LIMIT;
    for (size_t i = 0; i < in.n; i++) {
        unsigned char c = (unsigned char)in.p[i];
        if (c == '%') {
            bool whole = i + 2 < in.n;
            int high = whole ? hex(in.p[i + 1]) : -1, low = whole ? hex(in.p[i + 2]) : -1;
            if (high < 0 || low < 0)
                return ERR_SYNTAX;
            c = (unsigned char)(high << 4 | low);
            i += 2;
        } else if (plus && c == '+') {
            c = ' ';
        }
        if (c < 0x20 || c == 0x7F)
            return ERR_SYNTAX;
        to[n++] = (char)c;
    }
    *out = (str){ to, n };
    return ERR_OK;
}

enum err http_path_decode(struct arena *a, str path, str *out)
{
    str all;
    enum err e = unescape(a, path, false, &all);
    if (e)
        return e;
    for (str rest = all, part; rest.n;) {
        str_cut(rest, '/', &part, &rest);
        if (str_eq(part, S("..")) || str_index(part, '\\') < part.n)
            return ERR_SYNTAX;
    }
    *out = all;
    return ERR_OK;
}

enum err http_query_next(struct arena *a, str *query, str *name, str *value)
{
    str pair = STR_NONE, key, text = STR_NONE;
    while (query->n && !pair.n)
        str_cut(*query, '&', &pair, query);
    if (!pair.n)
        return ERR_NOTFOUND;
    str_cut(pair, '=', &key, &text);
    enum err e = unescape(a, key, true, &key);
    if (!e)
        e = unescape(a, text, true, &text);
    if (!e) {
        *name = key;
        *value = text;
    }
    return e;
}
