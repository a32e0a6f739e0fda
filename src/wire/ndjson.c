/* wire/ndjson.c: lines cut out of pieces, as wire/sse.c does with events. */
#include "wire/ollama.h"

void ndjson_init(struct ndjson *s, size_t max_line)
{
    *s = (struct ndjson){ .max = max_line };
    buf_init(&s->carry, SIZE_MAX / 2);  /* a line of at most `max`, and one piece */
}

void ndjson_free(struct ndjson *s)
{
    buf_free(&s->carry);
    s->rest = STR_NONE;
    s->carry_used = false;
}

static void keep(struct ndjson *s)
{
    if (s->carry_used) {
        if (s->rest.n < s->carry.n)
            buf_drop(&s->carry, s->carry.n - s->rest.n);
    } else {
        buf_clear(&s->carry);
        s->failed = buf_put(&s->carry, s->rest);
    }
    s->carry_used = s->carry.n > 0;
    s->rest = STR_NONE;
}

void ndjson_feed(struct ndjson *s, str piece)
{
    if (s->failed)
        return;
    if (s->rest.p)
        keep(s);
    if (!s->carry_used) {
        s->rest = piece;
        return;
    }
    if (!s->failed)
        s->failed = buf_put(&s->carry, piece);
    s->rest = buf_str(&s->carry);
}

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

/* Blank lines before it may have come in an earlier piece. */
static str trimmed(str line)
{
    while (line.n && is_blank(line.p[line.n - 1]))
        line.n--;
    while (line.n && is_blank(line.p[0]))
        line = str_skip(line, 1);
    return line;
}

enum err ndjson_next(struct ndjson *s, str *raw, str *line)
{
    if (s->failed)
        return s->failed;
    if (!s->rest.p)
        return ERR_AGAIN;
    size_t begin = 0;                   /* blank lines go with the line after them */
    for (;;) {
        s->looked += str_index(str_skip(s->rest, s->looked), '\n');
        if (s->looked >= s->rest.n)
            break;
        str whole = { s->rest.p, ++s->looked }, text = trimmed(str_skip(whole, begin));
        begin = s->looked;
        if (!text.n && s->looked <= s->max)
            continue;
        if (s->looked > s->max)
            return s->failed = ERR_LIMIT;
        s->rest = str_skip(s->rest, s->looked);
        s->looked = 0;
        *raw = whole;
        *line = text;
        return ERR_OK;
    }
    if (s->rest.n > s->max)
        return s->failed = ERR_LIMIT;
    keep(s);
    return s->failed ? s->failed : ERR_AGAIN;
}

bool ndjson_pending(const struct ndjson *s)
{
    str left = s->rest.n ? s->rest : s->carry_used ? buf_str(&s->carry) : STR_NONE;
    return s->failed || trimmed(left).n > 0;
}
