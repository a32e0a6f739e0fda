/* http/download.h: what lies at other hosts, fetched whole or in ranges, for commands that may block. Includes: core, libcurl (in the .c).
 *
 * One downloader is one thread's: a set of kept connections and the rules below. libcurl does HTTP/1.1 (RFC 9110: ranges in 14, Retry-After in
 * 10.2.3) and TLS; where a request may go is decided here, hop by hop:
 *
 *   - https only; plain http only while every hop so far was http to a loopback address, which is checked on the socket that was reached;
 *   - at most DOWNLOAD_REDIRECTS redirects; none with a name and password in it;
 *   - the token goes to the origin (scheme, host and port) it was given for, never to another one that a redirect names;
 *   - a transfer that brings nothing for stall_ms is ended; 408, 429, 5xx, cut and stalled transfers are tried again after growing pauses, or
 *     after the server's Retry-After (or the t of its RateLimit field), up to `tries` failures in a row without progress between them.
 *
 * A file is fetched in ranges that the sink names, `parallel` of them at once, when the server can do that; one that cannot sends it whole, from
 * its first byte on. Where the first request was redirected to is remembered for the others; signed addresses that ran out are asked for anew. */
#ifndef HEARTH_HTTP_DOWNLOAD_H
#define HEARTH_HTTP_DOWNLOAD_H

#include "core/arena.h"
#include "core/err.h"

#define DOWNLOAD_REDIRECTS 10
#define DOWNLOAD_URL       8192         /* the longest address that is followed: signed ones are long */
#define DOWNLOAD_WAIT_MS   300000       /* a server that asks for a longer pause is not waited for */

struct download_rules {
    const char *token;                  /* bearer token, or NULL */
    const char *token_url;              /* any address at the origin it is for */
    const char *ca_file;                /* certificates to trust instead of the system's; "" or NULL: those */
    const char *proxy;                  /* "env" or NULL: as the environment says; "": none; loopback addresses are always reached directly */
    int64_t connect_ms, stall_ms;       /* default 10,000 and 30,000 */
    int64_t backoff_ms;                 /* the first pause; default 500 */
    int tries, parallel;                /* default 6 and 4 */
    void *ctx;
    /* Called every 100 ms and with every piece of data; false ends what is running with ERR_CLIENT. */
    bool (*on_tick)(void *ctx);
    /* A failure that is tried again after wait_ms; `why` is a sentence. */
    void (*on_retry)(void *ctx, const char *why, int64_t wait_ms);
};
void download_rules_default(struct download_rules *r);

struct downloader;
enum err downloader_new(const struct download_rules *r, struct downloader **out);        /* the rules' strings must outlive it */
void downloader_free(struct downloader *d);
const char *downloader_why(const struct downloader *d);          /* the last error as a sentence; never holds a token or a query */

/* What a server said about what it sent. Texts are cut to fit. */
struct download_reply {
    int status;
    str body;                           /* download_text() only */
    char next[DOWNLOAD_URL];            /* the Link field's rel="next" (RFC 8288), resolved; "" */
    char error[300];                    /* X-Error-Message, or the beginning of an error's body */
    char code[64];                      /* X-Error-Code */
    char digest[80], commit[80];        /* X-Linked-Etag without quotes and X-Repo-Commit, as the first hop at the address's own origin says */
};
/* A small text: at most `max` bytes. ERR_UPSTREAM for every final status but 200 (out->status says which), ERR_LIMIT, ERR_TLS, ERR_REFUSED,
 * ERR_DEADLINE, ERR_CUT, ERR_FORBIDDEN (a rule), ERR_CLIENT. */
enum err download_text(struct downloader *d, struct arena *a, const char *url, const char *accept, size_t max, struct download_reply *out);

struct download_sink {
    void *ctx;
    /* Before any data, and again when the file must be begun anew: `size` of the whole file, `tag` that names its version ("" for none), and
     * whether ranges are possible. Anything but ERR_OK ends the download. */
    enum err (*on_begin)(void *ctx, uint64_t size, str tag, bool ranges, const struct download_reply *r);
    /* The next bytes [*from, *to) that nobody fetches yet; false: there are none. Before on_begin `to` may lie behind the file's end. */
    bool (*next)(void *ctx, uint64_t *from, uint64_t *to);
    enum err (*on_data)(void *ctx, uint64_t at, str data);      /* ERR_AGAIN: not from there; this range is handed back */
    /* What next() handed out from here on is not being fetched any more, whether all of it came or not. */
    void (*put_back)(void *ctx, uint64_t from);
    uint64_t size;                      /* what the file must measure; 0: not known */
    bool by_digest;                     /* a digest decides in the end, so replies need not name the same version */
};
/* ERR_OK: next() has no more, and nothing is on its way. Errors as above, and those of the sink; `reply` is then what the server said. */
enum err download_file(struct downloader *d, const char *url, struct download_sink *s, struct download_reply *reply);

/* Is this address one that may be asked at all (https, or http on a loopback address; no credentials)? ERR_FORBIDDEN with a sentence in *why. */
enum err download_check_url(const char *url, const char **why);
/* Seconds that a server wants to be left alone, from Retry-After ("120"; a date counts as none) or RateLimit ("…;r=0;t=55"); -1: it does not say. */
int64_t download_pause_s(str retry_after, str ratelimit);

#endif
