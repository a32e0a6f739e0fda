/* libcurl's multi interface as a blocking loop: a few transfers at once, each a chain of hops that are checked one by one. libcurl itself
 * follows nothing and knows no credentials: a redirect is an answer like another, and its address becomes a request of its own. */
#include "http/download.h"

#include "core/buf.h"
#include "core/clock.h"
#include "core/rand.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PARALLEL_MAX = 16, POLL_MS = 100, ERROR_BYTES = 4096, IGNORED_BYTES = 1 << 20, PAUSE_MAX_MS = 30000, FRESH_BYTES = 1 << 20 };

struct transfer {
    struct downloader *d;
    CURL *easy;
    struct curl_slist *fields;
    char url[DOWNLOAD_URL];
    const char *accept;
    bool running, plain, direct;        /* plain: only http on loopback so far; direct: this hop is the address that was asked for */
    bool remembered;                    /* it began where an earlier one was redirected to */
    int redirects;
    int64_t last_ms;
    struct buf text;                    /* a text, or the beginning of an error's body */
    uint64_t ignored;
    struct download_reply reply;        /* of this hop; what its first hops said of digest and commit stays */
    bool checked;                       /* the head has been looked at */
    enum err err;                       /* ours: it ended the transfer from a callback */
    bool again;                         /* …and may be tried again */
    /* files */
    struct download_sink *sink;
    uint64_t handed, from, to, at;      /* handed: the beginning that the sink named */
    char curl_error[CURL_ERROR_SIZE];
};

struct downloader {
    struct download_rules r;
    CURLM *multi;
    struct transfer transfers[PARALLEL_MAX];
    char first[DOWNLOAD_URL], resolved[DOWNLOAD_URL];       /* of the file being fetched: its address, and where that leads; "" */
    bool begun, ranges;
    uint64_t size;
    char tag[128];
    int failures;
    uint64_t fresh;                     /* bytes that came since the last failure */
    int64_t not_before_ms;
    char why[700];
};

void download_rules_default(struct download_rules *r)
{
    *r = (struct download_rules){ .connect_ms = 10000, .stall_ms = 30000, .backoff_ms = 500, .tries = 6, .parallel = 4 };
}

static int64_t now_ms(void) { return clock_mono_us(&clock_system) / 1000; }

static enum err fail(struct downloader *d, enum err e, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static enum err fail(struct downloader *d, enum err e, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(d->why, sizeof d->why, fmt, ap);
    va_end(ap);
    return e;
}

/* A failure from inside a callback. */
static bool stop(struct transfer *t, enum err e, bool again, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
static bool stop(struct transfer *t, enum err e, bool again, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(t->d->why, sizeof t->d->why, fmt, ap);
    va_end(ap);
    t->err = e;
    t->again = again;
    return false;
}

const char *downloader_why(const struct downloader *d) { return d->why; }

/* ---- addresses ---- */

struct address { char scheme[8], host[256], port[8]; };

static bool part(CURLU *u, CURLUPart what, unsigned flags, char *to, size_t room)
{
    char *text = NULL;
    bool ok = curl_url_get(u, what, &text, flags) == CURLUE_OK && (size_t)snprintf(to, room, "%s", text) < room;
    curl_free(text);
    return ok;
}

static bool is_loopback_name(const char *host)
{
    struct in_addr v4;
    struct in6_addr v6;
    char bare[64];
    if (strcmp(host, "localhost") == 0)
        return true;
    if (inet_pton(AF_INET, host, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == 127;
    size_t n = strlen(host);
    if (host[0] != '[' || n < 4 || n >= sizeof bare || host[n - 1] != ']')
        return false;
    memcpy(bare, host + 1, n - 2);
    bare[n - 2] = '\0';
    return inet_pton(AF_INET6, bare, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

/* The address and its origin; `base` (may be NULL) is what a relative one belongs to. *why: a sentence. */
static bool resolve(const char *base, const char *url, char whole[DOWNLOAD_URL], struct address *a, const char **why)
{
    CURLU *u = curl_url();
    char *user = NULL;
    bool ok = false;
    *why = "the address is not valid";
    if (!u || (base && curl_url_set(u, CURLUPART_URL, base, 0) != CURLUE_OK) || curl_url_set(u, CURLUPART_URL, url, CURLU_URLENCODE) != CURLUE_OK ||
        curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0) != CURLUE_OK)
        goto done;
    if (!part(u, CURLUPART_SCHEME, 0, a->scheme, sizeof a->scheme) || !part(u, CURLUPART_HOST, 0, a->host, sizeof a->host) ||
        !part(u, CURLUPART_PORT, CURLU_DEFAULT_PORT, a->port, sizeof a->port) || !part(u, CURLUPART_URL, 0, whole, DOWNLOAD_URL))
        goto done;
    *why = "the address holds a name or a password";
    if (curl_url_get(u, CURLUPART_USER, &user, 0) == CURLUE_OK || curl_url_get(u, CURLUPART_PASSWORD, &user, 0) == CURLUE_OK)
        goto done;
    *why = "only https is used, and http on loopback addresses";
    ok = strcmp(a->scheme, "https") == 0 || (strcmp(a->scheme, "http") == 0 && is_loopback_name(a->host));
done:
    curl_free(user);
    curl_url_cleanup(u);
    return ok;
}

enum err download_check_url(const char *url, const char **why)
{
    char whole[DOWNLOAD_URL];
    struct address a;
    return resolve(NULL, url, whole, &a, why) ? ERR_OK : ERR_FORBIDDEN;
}

static bool same_origin(const char *x, const char *y)
{
    char whole[DOWNLOAD_URL];
    struct address a, b;
    const char *why;
    return resolve(NULL, x, whole, &a, &why) && resolve(NULL, y, whole, &b, &why) && strcmp(a.scheme, b.scheme) == 0 && str_ieq(str_of(a.host), str_of(b.host)) &&
           strcmp(a.port, b.port) == 0;
}

static const char *host_of(const char *url, struct address *a)
{
    char whole[DOWNLOAD_URL];
    const char *why;
    return resolve(NULL, url, whole, a, &why) ? a->host : "the server";
}

/* What plain http reached must be this machine: a name is nobody's promise. */
static curl_socket_t open_socket(void *ctx, curlsocktype purpose, struct curl_sockaddr *to)
{
    struct transfer *t = ctx;
    (void)purpose;
    bool near = true;
    if (strncmp(t->url, "http:", 5) == 0) {
        if (to->family == AF_INET)
            near = ntohl(((const struct sockaddr_in *)(const void *)&to->addr)->sin_addr.s_addr) >> 24 == 127;
        else
            near = to->family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)&to->addr)->sin6_addr);
    }
    if (near || stop(t, ERR_FORBIDDEN, false, "plain http to an address that is not this machine's"))
        return socket(to->family, to->socktype | SOCK_CLOEXEC, to->protocol);
    return CURL_SOCKET_BAD;
}

/* ---- what a reply says ---- */

static str field(const struct transfer *t, const char *name)
{
    struct curl_header *h;
    return curl_easy_header(t->easy, name, 0, CURLH_HEADER, -1, &h) == CURLHE_OK ? str_trim(str_of(h->value)) : STR_NONE;
}

/* Text of a server that people will see: one line, no control bytes. */
static void clean(char *to, size_t room, str s)
{
    size_t n = s.n < room - 1 ? s.n : room - 1;
    for (size_t i = 0; i < n; i++)
        to[i] = (unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7F ? ' ' : s.p[i];
    to[n] = '\0';
    n = str_utf8_whole((str){ to, n });
    to[n] = '\0';
    if (!str_is_utf8((str){ to, n }))
        to[0] = '\0';
}

int64_t download_pause_s(str retry_after, str ratelimit)
{
    uint64_t s;
    if (retry_after.n)
        return str_u64(retry_after, &s) && s < INT32_MAX ? (int64_t)s : -1;
    size_t at = str_find(ratelimit, S(";t="));
    str number = str_skip(ratelimit, at + 3), rest;
    size_t n = 0;
    while (n < number.n && number.p[n] >= '0' && number.p[n] <= '9')
        n++;
    rest = (str){ number.p, n };
    return at < ratelimit.n && str_u64(rest, &s) && s < INT32_MAX ? (int64_t)s : -1;
}

/* <https://…>; rel="next" (RFC 8288), one link or several in a list. */
static void read_next(struct transfer *t)
{
    str rest = field(t, "Link"), params;
    while (rest.n) {
        char url[DOWNLOAD_URL], whole[DOWNLOAD_URL];
        struct address a;
        const char *why;
        rest = str_skip(rest, str_index(rest, '<') + 1);
        str link = { rest.p, str_index(rest, '>') };
        (void)str_cut(str_skip(rest, link.n + 1), ',', &params, &rest);
        bool is_next = str_find(params, S("rel=\"next\"")) < params.n || str_find(params, S("rel=next")) < params.n;
        if (is_next && (size_t)snprintf(url, sizeof url, "%.*s", STR_ARG(link)) < sizeof url && resolve(t->url, url, whole, &a, &why)) {
            memcpy(t->reply.next, whole, sizeof whole);
            return;
        }
    }
}

/* An entity tag without weakness and quotes. */
static str bare_tag(str s)
{
    if (str_starts(s, S("W/")))
        s = str_skip(s, 2);
    return s.n >= 2 && s.p[0] == '"' && s.p[s.n - 1] == '"' ? str_slice(s.p + 1, s.n - 2) : s;
}

static void read_reply(struct transfer *t)
{
    struct download_reply *r = &t->reply;
    long status = 0;
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    r->status = (int)status;
    clean(r->code, sizeof r->code, field(t, "X-Error-Code"));
    clean(r->error, sizeof r->error, field(t, "X-Error-Message"));
    if (status < 400 && t->direct) {
        if (!*r->digest)
            clean(r->digest, sizeof r->digest, bare_tag(field(t, "X-Linked-Etag")));
        if (!*r->commit)
            clean(r->commit, sizeof r->commit, field(t, "X-Repo-Commit"));
    }
}

static bool is_redirect(int status) { return status == 301 || status == 302 || status == 303 || status == 307 || status == 308; }
static bool is_passing(int status) { return status == 408 || status == 429 || status == 500 || status == 502 || status == 503 || status == 504; }

/* ---- data ---- */

/* "bytes 0-99/1234" */
static bool content_range(str s, uint64_t *first, uint64_t *last, uint64_t *size)
{
    str range, total, a, b;
    return str_starts(s, S("bytes ")) && str_cut(str_skip(s, 6), '/', &range, &total) && str_cut(range, '-', &a, &b) && str_u64(a, first) && str_u64(b, last) &&
           str_u64(total, size) && *first <= *last && *last < *size;
}

static bool tell_sink(struct transfer *t, uint64_t size, str tag, bool ranges)
{
    struct downloader *d = t->d;
    struct address a;
    if (t->sink->size && size != t->sink->size)
        return stop(t, ERR_UPSTREAM, false, "%s has a file of %llu bytes where %llu were announced", host_of(t->url, &a), (unsigned long long)size,
                    (unsigned long long)t->sink->size);
    d->begun = true;
    d->ranges = ranges;
    d->size = size;
    if (t->redirects)
        memcpy(d->resolved, t->url, sizeof d->resolved);
    snprintf(d->tag, sizeof d->tag, "%.*s", STR_ARG(tag));
    enum err e = t->sink->on_begin(t->sink->ctx, size, str_of(d->tag), ranges, &t->reply);
    return e == ERR_OK || stop(t, e, false, "%s", err_text(e));
}

/* The head of a range, or of the whole file from a server that knows no ranges. */
static bool check_file_head(struct transfer *t)
{
    struct downloader *d = t->d;
    struct address a;
    uint64_t first, last, size;
    curl_off_t length = -1;
    str etag = field(t, "ETag"), tag = etag.n && !str_starts(etag, S("W/")) ? etag : field(t, "Last-Modified"), coding = field(t, "Content-Encoding");
    tag.n = tag.n < sizeof d->tag ? tag.n : 0;
    if (coding.n && !str_ieq(coding, S("identity")))
        return stop(t, ERR_UPSTREAM, false, "%s sends the file in an encoding that was not asked for", host_of(t->url, &a));
    if (t->reply.status == 206) {
        if (!content_range(field(t, "Content-Range"), &first, &last, &size) || first != t->from || last >= t->to)
            return stop(t, ERR_UPSTREAM, false, "%s sends another range than was asked for", host_of(t->url, &a));
        if (!d->begun && !tell_sink(t, size, tag, true))
            return false;
        if (size != d->size || (!t->sink->by_digest && !str_eq(tag, str_of(d->tag))))
            return stop(t, ERR_UPSTREAM, false, "the file changed at %s while it was fetched: begin again", host_of(t->url, &a));
        t->to = last + 1;
        return true;
    }
    if (d->begun && d->ranges)
        return stop(t, ERR_UPSTREAM, true, "%s sends the whole file instead of a range", host_of(t->url, &a));
    curl_easy_getinfo(t->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    if (length <= 0)
        return stop(t, ERR_UPSTREAM, false, "%s does not say how long the file is", host_of(t->url, &a));
    t->from = t->at = 0;
    t->to = (uint64_t)length;
    return tell_sink(t, (uint64_t)length, tag, false);
}

static bool take_file_data(struct transfer *t, str data)
{
    struct address a;
    if (data.n > t->to - t->at)
        return stop(t, ERR_UPSTREAM, true, "%s sends more than was asked for", host_of(t->url, &a));
    enum err e = t->sink->on_data(t->sink->ctx, t->at, data);
    if (e != ERR_OK)
        return stop(t, e, false, "%s", err_text(e));
    t->at += data.n;
    t->d->fresh += data.n;
    return true;
}

static bool take(struct transfer *t, str data)
{
    if (!t->checked) {
        read_reply(t);
        t->checked = true;
        if (t->sink && (t->reply.status == 200 || t->reply.status == 206) && !check_file_head(t))
            return false;
    }
    bool good = t->reply.status == 200 || (t->reply.status == 206 && t->sink);
    if (good && t->sink)
        return take_file_data(t, data);
    if (good)
        return buf_put(&t->text, data) == ERR_OK || stop(t, ERR_LIMIT, false, "the answer is longer than %zu bytes", t->text.max);
    /* Of an error's body the beginning is worth reading, and a redirect's none of it. */
    size_t room = ERROR_BYTES - (t->text.n < ERROR_BYTES ? t->text.n : ERROR_BYTES);
    (void)buf_put(&t->text, (str){ data.p, data.n < room ? data.n : room });
    return (t->ignored += data.n) < IGNORED_BYTES;
}

static size_t on_write(char *p, size_t one, size_t n, void *ctx)
{
    struct transfer *t = ctx;
    (void)one;
    t->last_ms = now_ms();
    if (t->d->r.on_tick && !t->d->r.on_tick(t->d->r.ctx))
        return stop(t, ERR_CLIENT, false, "cancelled") ? n : 0;
    return take(t, (str){ p, n }) ? n : 0;
}

/* ---- hops ---- */

static bool add_field(struct transfer *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool add_field(struct transfer *t, const char *fmt, ...)
{
    char line[4096];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    struct curl_slist *more = n > 0 && n < (int)sizeof line ? curl_slist_append(t->fields, line) : NULL;
    t->fields = more ? more : t->fields;
    return more != NULL;
}

static bool set_fields(struct transfer *t)
{
    const struct download_rules *r = &t->d->r;
    curl_slist_free_all(t->fields);
    t->fields = NULL;
    bool ok = add_field(t, "Accept: %s", t->accept ? t->accept : "*/*") && add_field(t, "Accept-Encoding: identity");
    if (ok && t->sink)
        ok = add_field(t, "Range: bytes=%llu-%llu", (unsigned long long)t->from, (unsigned long long)t->to - 1);
    if (ok && r->token && *r->token && same_origin(t->url, r->token_url))
        ok = add_field(t, "Authorization: Bearer %s", r->token);
    return ok && curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->fields) == CURLE_OK;
}

static bool set_options(struct transfer *t)
{
    CURL *c = t->easy;
    const struct download_rules *r = &t->d->r;
    struct address a;
    curl_easy_reset(c);
    bool ok = curl_easy_setopt(c, CURLOPT_URL, t->url) == CURLE_OK && curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK;
    ok = ok && curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK && curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L) == CURLE_OK;
    ok = ok && curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) == CURLE_OK;
    ok = ok && curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, 1L) == CURLE_OK && curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, 2L) == CURLE_OK;
    ok = ok && curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)r->connect_ms) == CURLE_OK;
    ok = ok && curl_easy_setopt(c, CURLOPT_USERAGENT, "hearth/" HEARTH_VERSION) == CURLE_OK && curl_easy_setopt(c, CURLOPT_ERRORBUFFER, t->curl_error) == CURLE_OK;
    ok = ok && curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_write) == CURLE_OK && curl_easy_setopt(c, CURLOPT_WRITEDATA, t) == CURLE_OK;
    ok = ok && curl_easy_setopt(c, CURLOPT_OPENSOCKETFUNCTION, open_socket) == CURLE_OK && curl_easy_setopt(c, CURLOPT_OPENSOCKETDATA, t) == CURLE_OK;
    ok = ok && curl_easy_setopt(c, CURLOPT_PRIVATE, (char *)t) == CURLE_OK;
    if (ok && r->ca_file && *r->ca_file)
        ok = curl_easy_setopt(c, CURLOPT_CAINFO, r->ca_file) == CURLE_OK;
    if (ok && is_loopback_name(host_of(t->url, &a)))
        ok = curl_easy_setopt(c, CURLOPT_PROXY, "") == CURLE_OK;
    else if (ok && r->proxy && strcmp(r->proxy, "env") != 0)
        ok = curl_easy_setopt(c, CURLOPT_PROXY, r->proxy) == CURLE_OK;
    return ok && set_fields(t);
}

/* Sends one request to t->url. */
static enum err hop(struct transfer *t)
{
    struct downloader *d = t->d;
    if (!t->easy && !(t->easy = curl_easy_init()))
        return fail(d, ERR_MEMORY, "%s", err_text(ERR_MEMORY));
    t->curl_error[0] = '\0';
    t->checked = t->again = false;
    t->err = ERR_OK;
    t->ignored = 0;
    t->at = t->from;
    t->last_ms = now_ms();
    buf_clear(&t->text);
    if (!set_options(t) || curl_multi_add_handle(d->multi, t->easy) != CURLM_OK)
        return fail(d, ERR_MEMORY, "%s", err_text(ERR_MEMORY));
    t->running = true;
    return ERR_OK;
}

static void end_hop(struct transfer *t)
{
    if (t->running)
        curl_multi_remove_handle(t->d->multi, t->easy);
    t->running = false;
}

/* From the address that was asked for, or from where that led before. */
static enum err first_hop(struct transfer *t, const char *url, bool direct)
{
    struct address a;
    const char *why;
    if (!resolve(NULL, url, t->url, &a, &why))
        return fail(t->d, ERR_FORBIDDEN, "%s", why);
    t->plain = strcmp(a.scheme, "http") == 0;
    t->direct = direct;
    t->redirects = 0;
    t->reply = (struct download_reply){ .status = 0 };
    return hop(t);
}

/* Where the reply points to, if it may. */
static enum err follow(struct transfer *t)
{
    struct downloader *d = t->d;
    struct address from, to;
    char location[DOWNLOAD_URL], whole[DOWNLOAD_URL];
    const char *why;
    str where = field(t, "Location");
    host_of(t->url, &from);
    if (!where.n || (size_t)snprintf(location, sizeof location, "%.*s", STR_ARG(where)) >= sizeof location)
        return fail(d, ERR_UPSTREAM, "%s redirects to nowhere", from.host);
    if (++t->redirects > DOWNLOAD_REDIRECTS)
        return fail(d, ERR_FORBIDDEN, "%s redirects too often: more than %d times", from.host, DOWNLOAD_REDIRECTS);
    if (!resolve(t->url, location, whole, &to, &why))
        return fail(d, ERR_FORBIDDEN, "%s redirects to an address that is not followed: %s", from.host, why);
    if (strcmp(to.scheme, "http") == 0 && !t->plain)
        return fail(d, ERR_FORBIDDEN, "%s redirects from https to http: that is not followed", from.host);
    t->plain = strcmp(to.scheme, "http") == 0;
    t->direct = t->direct && same_origin(t->url, whole);
    memcpy(t->url, whole, sizeof whole);
    return hop(t);
}

/* ---- ends ---- */

static enum err code_of(CURLcode c)
{
    switch (c) {
    case CURLE_OK: return ERR_OK;
    case CURLE_PEER_FAILED_VERIFICATION: case CURLE_SSL_CONNECT_ERROR: case CURLE_SSL_CACERT_BADFILE: case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_ISSUER_ERROR: case CURLE_SSL_INVALIDCERTSTATUS: return ERR_TLS;
    case CURLE_OPERATION_TIMEDOUT: return ERR_DEADLINE;
    case CURLE_OUT_OF_MEMORY: return ERR_MEMORY;
    case CURLE_COULDNT_CONNECT: case CURLE_COULDNT_RESOLVE_HOST: case CURLE_COULDNT_RESOLVE_PROXY: return ERR_REFUSED;
    default: return ERR_CUT;
    }
}

static enum err status_error(struct transfer *t)
{
    struct download_reply *r = &t->reply;
    struct address a;
    str body = str_trim(buf_str(&t->text));
    if (!*r->error && body.n && body.p[0] != '<')
        clean(r->error, sizeof r->error, body);
    return fail(t->d, ERR_UPSTREAM, "%s says %d%s%s", host_of(t->url, &a), r->status, *r->error ? ": " : "", r->error);
}

/* What came of a hop. ERR_OK: all of it is there. *again: it may be tried again, after *pause_ms when that is not negative. */
static enum err judge(struct transfer *t, CURLcode result, bool *again, int64_t *pause_ms)
{
    struct downloader *d = t->d;
    struct address a;
    *again = false;
    *pause_ms = -1;
    if (!t->checked && result == CURLE_OK)      /* no body came */
        (void)take(t, S(""));
    if (t->err != ERR_OK) {
        *again = t->again;
        return t->err;
    }
    if (t->reply.status >= 300) {
        int64_t s = download_pause_s(field(t, "Retry-After"), field(t, "RateLimit"));
        *again = is_passing(t->reply.status);
        if (*again && s * 1000 > DOWNLOAD_WAIT_MS) {
            *again = false;
            return fail(d, ERR_BUSY, "%s wants to be left alone for %lld s", host_of(t->url, &a), (long long)s);
        }
        *pause_ms = s >= 0 ? s * 1000 : -1;
        return status_error(t);
    }
    if (result != CURLE_OK) {
        enum err e = code_of(result);
        *again = e != ERR_TLS && e != ERR_MEMORY;
        return fail(d, e, "%s: %s", host_of(t->url, &a), *t->curl_error ? t->curl_error : curl_easy_strerror(result));
    }
    if (t->reply.status != 200 && !(t->reply.status == 206 && t->sink))
        return status_error(t);
    return ERR_OK;
}

/* Counts a failure and says when to try again; false: often enough. */
static bool try_again(struct downloader *d, int64_t pause_ms)
{
    struct rng r = rand_system();
    if (now_ms() < d->not_before_ms)    /* what cut one transfer cut the others too: that is one failure */
        return true;
    if (d->fresh >= FRESH_BYTES && (d->ranges || !d->begun))
        d->failures = 0;
    d->fresh = 0;
    if (++d->failures >= d->r.tries)
        return false;
    if (pause_ms < 0) {
        pause_ms = d->r.backoff_ms << (d->failures < 8 ? d->failures - 1 : 7);
        pause_ms = (pause_ms < PAUSE_MAX_MS ? pause_ms : PAUSE_MAX_MS) * (int64_t)(50 + rand_u64(&r) % 100) / 100;     /* spread, so that many do not come back at once */
    }
    if (d->not_before_ms < now_ms() + pause_ms)
        d->not_before_ms = now_ms() + pause_ms;
    if (d->r.on_retry)
        d->r.on_retry(d->r.ctx, d->why, pause_ms);
    return true;
}

/* One turn: moves bytes, waits a little when there are none, ends what stalls. *t: a transfer that ended, with its result; NULL: none did. */
static enum err turn(struct downloader *d, struct transfer **ended, CURLcode *result)
{
    int running, left;
    *ended = NULL;
    curl_multi_perform(d->multi, &running);
    const CURLMsg *m = curl_multi_info_read(d->multi, &left);
    if (m && m->msg == CURLMSG_DONE) {
        struct transfer *t = NULL;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&t);
        *result = m->data.result;
        *ended = t;
        return ERR_OK;
    }
    if (d->r.on_tick && !d->r.on_tick(d->r.ctx))
        return fail(d, ERR_CLIENT, "cancelled");
    for (int i = 0; i < PARALLEL_MAX; i++) {
        struct transfer *t = &d->transfers[i];
        struct address a;
        if (t->running && now_ms() - t->last_ms > d->r.stall_ms + (t->checked ? 0 : d->r.connect_ms)) {
            (void)stop(t, ERR_DEADLINE, true, "%s sent nothing for %lld s", host_of(t->url, &a), (long long)(d->r.stall_ms + 999) / 1000);
            *result = CURLE_OPERATION_TIMEDOUT;
            *ended = t;
            return ERR_OK;
        }
    }
    curl_multi_poll(d->multi, NULL, 0, POLL_MS, NULL);
    return ERR_OK;
}

static enum err wait_turns(struct downloader *d)
{
    struct transfer *t;
    CURLcode result;
    while (now_ms() < d->not_before_ms) {
        enum err e = turn(d, &t, &result);
        if (e != ERR_OK)
            return e;
    }
    return ERR_OK;
}

static void stop_all(struct downloader *d)
{
    for (int i = 0; i < PARALLEL_MAX; i++)
        end_hop(&d->transfers[i]);
}

static void begin(struct downloader *d)
{
    d->failures = 0;
    d->fresh = 0;
    d->not_before_ms = 0;
    d->begun = d->ranges = false;
    d->resolved[0] = d->why[0] = '\0';
}

/* ---- texts ---- */

enum err download_text(struct downloader *d, struct arena *a, const char *url, const char *accept, size_t max, struct download_reply *out)
{
    struct transfer *t = &d->transfers[0], *ended;
    CURLcode result;
    bool again;
    int64_t pause_ms;
    begin(d);
    t->sink = NULL;
    t->accept = accept;
    t->text.max = max > ERROR_BYTES ? max : ERROR_BYTES;
    enum err e = first_hop(t, url, true);
    while (e == ERR_OK) {
        e = turn(d, &ended, &result);
        if (e != ERR_OK || !ended)
            continue;
        e = judge(t, result, &again, &pause_ms);
        if (e == ERR_OK) {
            read_next(t);
            t->reply.body = arena_str(a, buf_str(&t->text));
            e = t->reply.body.p ? ERR_OK : ERR_LIMIT;
            break;
        }
        bool moved = e == ERR_UPSTREAM && is_redirect(t->reply.status);
        end_hop(t);
        if (moved)
            e = follow(t);
        else if (again && try_again(d, pause_ms))
            e = (e = wait_turns(d)) == ERR_OK ? first_hop(t, url, true) : e;
    }
    stop_all(d);
    buf_free(&t->text);
    *out = t->reply;
    return e;
}

/* ---- files ---- */

/* Hands out ranges to idle transfers; one alone until the file's size is known. *all_out: the sink has no more. */
static enum err start_some(struct downloader *d, struct download_sink *s, int *active, bool *all_out)
{
    int most = d->begun && d->ranges ? d->r.parallel : 1;
    most = most < PARALLEL_MAX ? most : PARALLEL_MAX;
    *all_out = false;
    for (int i = 0; i < PARALLEL_MAX && *active < most && now_ms() >= d->not_before_ms; i++) {
        struct transfer *t = &d->transfers[i];
        if (t->running)
            continue;
        *all_out = !s->next(s->ctx, &t->from, &t->to);
        if (*all_out)
            return ERR_OK;
        t->sink = s;
        t->accept = NULL;
        t->handed = t->from;
        t->text.max = ERROR_BYTES;
        t->remembered = *d->resolved != '\0';
        enum err e = first_hop(t, t->remembered ? d->resolved : d->first, !t->remembered);
        if (e != ERR_OK)
            return e;
        ++*active;
    }
    return ERR_OK;
}

/* What to do after a hop of a file ended. *active goes down when its range is done or handed back. */
static enum err file_hop_ended(struct transfer *t, CURLcode result, int *active)
{
    struct downloader *d = t->d;
    bool again;
    int64_t pause_ms;
    enum err e = judge(t, result, &again, &pause_ms);
    int status = t->reply.status;
    end_hop(t);
    if (e == ERR_UPSTREAM && t->err == ERR_OK && is_redirect(status) && (e = follow(t)) == ERR_OK)
        return ERR_OK;
    --*active;
    t->sink->put_back(t->sink->ctx, t->handed);
    if (e == ERR_AGAIN)                 /* the sink does not want this one */
        return ERR_OK;
    if (e == ERR_OK) {
        if (t->redirects)
            memcpy(d->resolved, t->url, sizeof d->resolved);
        if (t->at == t->to) {
            d->failures = d->ranges ? 0 : d->failures;
            return ERR_OK;
        }
        again = true;
        e = fail(d, ERR_CUT, "the answer ended early");
    }
    if (t->remembered && t->err == ERR_OK && (status == 401 || status == 403 || status == 404 || status == 410)) {
        d->resolved[0] = '\0';          /* a signed address that ran out: the way to it is asked for anew */
        again = true;
    }
    return again && try_again(d, pause_ms) ? ERR_OK : e;
}

enum err download_file(struct downloader *d, const char *url, struct download_sink *s, struct download_reply *reply)
{
    struct transfer *ended;
    CURLcode result;
    int active = 0;
    bool all_out;
    enum err e = ERR_OK;
    begin(d);
    if ((size_t)snprintf(d->first, sizeof d->first, "%s", url) >= sizeof d->first)
        return fail(d, ERR_FORBIDDEN, "the address is too long");
    while (e == ERR_OK) {
        e = start_some(d, s, &active, &all_out);
        if (e != ERR_OK || (all_out && !active))
            break;
        e = turn(d, &ended, &result);
        if (e == ERR_OK && ended) {
            e = file_hop_ended(ended, result, &active);
            if (e != ERR_OK)
                *reply = ended->reply;
        }
    }
    for (int i = 0; i < PARALLEL_MAX; i++) {
        struct transfer *t = &d->transfers[i];
        if (t->running)
            s->put_back(s->ctx, t->handed);
        end_hop(t);
        buf_free(&t->text);
    }
    return e;
}

/* ---- life ---- */

enum err downloader_new(const struct download_rules *r, struct downloader **out)
{
    struct downloader *d = calloc(1, sizeof *d);
    if (!d || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK || !(d->multi = curl_multi_init())) {
        free(d);
        return ERR_MEMORY;
    }
    d->r = *r;
    for (int i = 0; i < PARALLEL_MAX; i++)
        d->transfers[i].d = d;
    *out = d;
    return ERR_OK;
}

void downloader_free(struct downloader *d)
{
    if (!d)
        return;
    stop_all(d);
    for (int i = 0; i < PARALLEL_MAX; i++) {
        if (d->transfers[i].easy)
            curl_easy_cleanup(d->transfers[i].easy);
        curl_slist_free_all(d->transfers[i].fields);
    }
    curl_multi_cleanup(d->multi);
    curl_global_cleanup();
    free(d);
}
