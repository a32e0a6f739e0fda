/* http/chunks.c: the chunked coding, a state at a time (RFC 9112 7.1). Extensions and trailers are read past, within limits. */
#include "http/head.h"

enum { SIZE_FIRST, SIZE, SPACE, EXTENSION, SIZE_LF, DATA, DATA_CR, DATA_LF, TRAILER_START, TRAILER_NAME, TRAILER, TRAILER_LF, END_LF, DONE };
enum { SIZE_MAX_DIGITS = 16, LINE_MAX_BYTES = 4096, TRAILER_MAX_BYTES = 16384 };

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

static bool size_digit(struct http_chunks *c, int d)
{
    if (++c->line > SIZE_MAX_DIGITS || c->left > UINT64_MAX >> 8)        /* far beyond every limit of a body */
        return false;
    c->left = c->left << 4 | (unsigned)d;
    return true;
}

/* A byte of the framing: the next state, or -1. */
static int step(struct http_chunks *c, char ch)
{
    int d = hex(ch);
    switch (c->state) {
    case SIZE_FIRST:
        c->left = 0;
        c->line = 0;
        return d >= 0 && size_digit(c, d) ? SIZE : -1;
    case SIZE:
        if (d >= 0)
            return size_digit(c, d) ? SIZE : -1;
        return ch == '\r' ? SIZE_LF : ch == ';' ? EXTENSION : ch == ' ' || ch == '\t' ? SPACE : -1;
    case SPACE:                         /* some servers fill the line up */
        return ch == '\r' ? SIZE_LF : (ch == ' ' || ch == '\t') && ++c->line <= LINE_MAX_BYTES ? SPACE : -1;
    case EXTENSION:
        return ch == '\r' ? SIZE_LF : http_is_vchar((unsigned char)ch) && ++c->line <= LINE_MAX_BYTES ? EXTENSION : -1;
    case SIZE_LF:
        return ch != '\n' ? -1 : c->left ? DATA : TRAILER_START;
    case DATA_CR:
        return ch == '\r' ? DATA_LF : -1;
    case DATA_LF:
        return ch == '\n' ? SIZE_FIRST : -1;
    case TRAILER_START:
        if (ch == '\r')
            return END_LF;
        return http_tchar[(unsigned char)ch] && ++c->trailer <= TRAILER_MAX_BYTES ? TRAILER_NAME : -1;
    case TRAILER_NAME:
        return ch == ':' ? TRAILER : http_tchar[(unsigned char)ch] && ++c->trailer <= TRAILER_MAX_BYTES ? TRAILER_NAME : -1;
    case TRAILER:
        return ch == '\r' ? TRAILER_LF : http_is_vchar((unsigned char)ch) && ++c->trailer <= TRAILER_MAX_BYTES ? TRAILER : -1;
    case TRAILER_LF:
        return ch == '\n' ? TRAILER_START : -1;
    case END_LF:
        return ch == '\n' ? DONE : -1;
    }
    return -1;
}

enum err http_chunks_next(struct http_chunks *c, str in, str *data, size_t *used, bool *done)
{
    size_t i = 0;
    *data = STR_NONE;
    *done = false;
    while (i < in.n && c->state != DATA && c->state != DONE) {
        int next = step(c, in.p[i++]);
        if (next < 0)
            return ERR_SYNTAX;
        c->state = (uint32_t)next;
    }
    if (c->state == DATA) {
        size_t n = in.n - i < c->left ? in.n - i : (size_t)c->left;
        *data = (str){ in.p + i, n };
        i += n;
        c->left -= n;
        if (!c->left)
            c->state = DATA_CR;
    }
    *used = i;
    *done = c->state == DONE;
    return *done || i < in.n || data->n ? ERR_OK : ERR_AGAIN;
}
