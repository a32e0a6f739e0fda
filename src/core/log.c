/* core/log.c: a line is put together on the stack and written with one write(2). */
#include "core/log.h"

#include "core/clock.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

enum { LINE = 2048 };

static struct { enum log_level least; enum log_format format; int fd; } out = { LOG_INFO, LOG_TEXT, 2 };
static const char *const level_name[] = { "debug", "info", "warn", "error", "off" };

struct line { char p[LINE]; size_t n; bool cut; };

void log_setup(enum log_level least, enum log_format format, int fd)
{
    out.least = least;
    out.format = format;
    out.fd = fd;
}

bool log_level_from(str name, enum log_level *level)
{
    for (int i = LOG_DEBUG; i <= LOG_OFF; i++)
        if (str_eq(name, str_of(level_name[i]))) {
            *level = (enum log_level)i;
            return true;
        }
    return false;
}

/* Room is kept for the end of the line: "…", a quote, a brace, the newline. */
static void put(struct line *l, const char *p, size_t n)
{
    if (l->cut || n > LINE - 8 - l->n) {
        l->cut = true;
        return;
    }
    memcpy(l->p + l->n, p, n);
    l->n += n;
}

static void put_c(struct line *l, const char *s) { put(l, s, strlen(s)); }

static void put_quoted(struct line *l, str s)
{
    put(l, "\"", 1);
    for (size_t i = 0; i < s.n && !l->cut; i++) {
        unsigned char c = (unsigned char)s.p[i];
        char esc[8];
        if (c == '"' || c == '\\')
            put(l, (char[]){ '\\', (char)c }, 2);
        else if (c < 0x20 || c == 0x7F)
            put(l, esc, (size_t)snprintf(esc, sizeof esc, "\\u%04x", c));
        else
            put(l, (const char *)&s.p[i], 1);
    }
    /* A cut text still ends with a quote, so that the line can be read. */
    if (l->cut) {
        l->n -= l->n - str_utf8_whole((str){ l->p, l->n });
        memcpy(l->p + l->n, "…", 3);
        l->n += 3;
        l->p[l->n++] = '"';
    } else {
        put(l, "\"", 1);
    }
}

static bool is_plain(str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= ' ' || s.p[i] == '"' || s.p[i] == '=' || s.p[i] == '\\' || s.p[i] == 0x7F)
            return false;
    return s.n > 0 && s.n < 512;
}

static void put_value(struct line *l, const struct log_field *f, bool quote)
{
    char number[40];
    str bad = S("(not UTF-8)");
    switch (f->kind) {
    case LOG_F_STR: {
        str s = str_is_utf8(f->s) ? f->s : bad;
        if (quote || !is_plain(s))
            put_quoted(l, s);
        else
            put(l, s.p, s.n);
        break;
    }
    case LOG_F_I64:
        put(l, number, (size_t)snprintf(number, sizeof number, "%lld", (long long)f->i));
        break;
    case LOG_F_F64:
        if (isfinite(f->f))
            put(l, number, (size_t)snprintf(number, sizeof number, "%.6g", f->f));
        else
            put_c(l, "null");
        break;
    }
}

void log_event(enum log_level level, const char *event, const struct log_field *fields, size_t n)
{
    if (level < out.least || level >= LOG_OFF)
        return;
    struct line l;
    char at[CLOCK_TEXT];
    bool json = out.format == LOG_JSON;
    l.n = 0;
    l.cut = false;
    clock_text(clock_wall_us(&clock_system), at);
    put_c(&l, json ? "{\"at\":\"" : "");
    put_c(&l, at);
    put_c(&l, json ? "\",\"level\":\"" : " ");
    put_c(&l, level_name[level]);
    put_c(&l, json ? "\",\"event\":\"" : " ");
    put_c(&l, event);
    put_c(&l, json ? "\"" : "");
    /* A field whose key has no room is left out whole: half a key would break the line for a reader of JSON. */
    for (size_t i = 0; i < n && !l.cut && l.n + strlen(fields[i].key) + 64 < LINE; i++) {
        put_c(&l, json ? ",\"" : " ");
        put_c(&l, fields[i].key);
        put_c(&l, json ? "\":" : "=");
        put_value(&l, &fields[i], json);
    }
    if (json)
        l.p[l.n++] = '}';
    l.p[l.n++] = '\n';
    (void)!write(out.fd, l.p, l.n);
}
