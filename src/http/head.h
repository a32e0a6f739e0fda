/* http/head.h: the head of an HTTP/1.1 message, strictly. Includes: core. Pure.
 *
 * One parser for requests and replies (RFC 9112). It reads a complete head or says that more is needed; names and values
 * are slices of the input. Strict where leniency makes request smuggling possible: only CRLF ends a line, no obs-fold,
 * no space before the colon, no NUL or bare CR, names are tokens, exactly one valid Host in a request, Content-Length
 * all digits and once (not even an equal second one), never with Transfer-Encoding, whose only value is "chunked". */
#ifndef HEARTH_HTTP_HEAD_H
#define HEARTH_HTTP_HEAD_H

#include "core/err.h"
#include "core/str.h"

#define HTTP_MAX_FIELDS 100
#define HTTP_MAX_HEAD   32768
#define HTTP_MAX_TARGET 8192

struct http_field { str name, value; };

enum http_body { HTTP_BODY_NONE, HTTP_BODY_LENGTH, HTTP_BODY_CHUNKED, HTTP_BODY_UNTIL_CLOSE };

struct http_head {
    str method, target;                 /* requests */
    str path, query;                    /* of an origin-form target, not decoded; query without '?' */
    int status;                         /* replies */
    int minor;                          /* HTTP/1.minor: 0 or 1 */
    struct http_field fields[HTTP_MAX_FIELDS];
    size_t n_fields;
    str host;                           /* requests: the one Host value */
    enum http_body body;
    uint64_t length;                    /* with HTTP_BODY_LENGTH */
    bool keep_alive, expect_continue;
    size_t size;                        /* bytes of the head, blank line included */
};

struct http_head_error { int status; const char *what; };      /* 400, 405, 413, 414, 431, 501, 505; close after it */

/* ERR_AGAIN: `in` holds no whole head yet (and is not yet over the limit). `scanned` remembers how far the end was
 * looked for, so that a head that arrives byte by byte costs linear time; start it with 0. */
enum err http_parse_request(str in, size_t *scanned, struct http_head *out, struct http_head_error *why);
/* `to_head`: the request was HEAD, so there is no body whatever the fields say. 1xx heads are returned like others. */
enum err http_parse_reply(str in, size_t *scanned, bool to_head, struct http_head *out, struct http_head_error *why);

str http_get(const struct http_head *h, str name);              /* the first field of that name, else an empty slice */
size_t http_count(const struct http_head *h, str name);
bool http_has_token(str value, str token);                      /* a comma-separated list that holds the token */

extern const bool http_tchar[256];                              /* RFC 9110 5.6.2: the bytes of a token */
/* The bytes of a field's value: visible ones, spaces and tabs, and obs-text; no other control byte. */
static inline bool http_is_vchar(unsigned char c) { return (c >= 0x20 || c == '\t') && c != 0x7F; }

/* The head's bytes were copied from `from` to `to`: its slices follow. */
void http_head_rebase(struct http_head *h, const char *from, const char *to);

/* ---- chunked bodies (RFC 9112 7.1), as strictly: sizes of at most 16 digits, extensions begin right behind them, trailers are fields ---- */
struct http_chunks {
    uint64_t left;                      /* bytes of the current chunk still to come */
    uint32_t state, line, trailer;      /* private; bytes of the current line and of the trailers are limited */
};
/* Decodes from `in`: *data is the next piece of the body (a slice of `in`, maybe empty), *used the bytes consumed.
 * ERR_OK: call again while there is input. ERR_AGAIN: everything was used, more is needed. *done: the body is complete. ERR_SYNTAX. */
enum err http_chunks_next(struct http_chunks *c, str in, str *data, size_t *used, bool *done);

/* The same path with escapes resolved and checked: ERR_SYNTAX on bad escapes, NUL, "..", backslash or control bytes. */
struct arena;
enum err http_path_decode(struct arena *a, str path, str *out);
/* Takes the next "name=value" from the front of a query, decoded as forms are ("+" is a space; without "=" the value is empty). ERR_NOTFOUND:
 * there is none left. ERR_SYNTAX: bad escapes or control bytes. */
enum err http_query_next(struct arena *a, str *query, str *name, str *value);

#endif
