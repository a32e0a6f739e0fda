/* The finder by itself: what it finds in labelled documents, and how fast it reads.
 *
 *   guard_raw find FILE.jsonl           a line {"id","text"} in, a line {"id","spans":[{"start","end","type","rule","score"}]} out, by byte offsets
 *   guard_raw show FILE                 the same of a plain text, a line a span: offset, type, rule, score, value
 *   guard_raw speed SECONDS KIB FILE…   MB/s (of CPU time) of each file, in texts of about so many KiB that end with a line, by the vector form and the plain one
 *   guard_raw worst SECONDS             the same of worst cases: 1 MB of one pattern each
 *   guard_raw --no-tagger …             any of these by rules and lists alone */
#include "core/json.h"
#include "guard/find.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static int fail(const char *what) { return fprintf(stderr, "error: %s\n", what), 1; }

static bool read_file(const char *path, struct buf *b)
{
    char part[1 << 16];
    FILE *f = fopen(path, "rb");
    size_t n;
    bool ok = f != NULL;
    while (ok && (n = fread(part, 1, sizeof part, f)))
        ok = buf_put(b, str_slice(part, n)) == ERR_OK;
    return f && !fclose(f) && ok;
}

static enum err write_spans(struct json_out *o, const struct guard_span *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        json_open(o, '{');
        json_put_key(o, S("start"));
        json_put_i64(o, (int64_t)s[i].begin);
        json_put_key(o, S("end"));
        json_put_i64(o, (int64_t)s[i].end);
        json_put_key(o, S("type"));
        json_put_str(o, str_of(guard_type_name(NULL, s[i].type)));
        json_put_key(o, S("rule"));
        json_put_str(o, str_of(guard_rule_name(s[i].rule)));
        json_put_key(o, S("score"));
        json_put_i64(o, s[i].score);
        json_close(o, '}');
    }
    return o->err;
}

static enum err find_line(const struct guard_finder *f, struct arena *a, str line)
{
    struct buf b = { .max = SIZE_MAX };
    struct json_out o;
    struct guard_span *s = NULL;
    size_t n = 0;
    json doc;
    str id, text;
    enum err e = json_parse(a, line, &JSON_DEFAULT_LIMITS, &doc, NULL);
    e = e ? e : json_text(a, json_member(doc, S("id")), &id);
    e = e ? e : json_text(a, json_member(doc, S("text")), &text);
    e = e ? e : guard_find(f, a, text, &s, &n);
    if (e)
        return e;
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_put_key(&o, S("id"));
    json_put_str(&o, id);
    json_put_key(&o, S("spans"));
    json_open(&o, '[');
    e = write_spans(&o, s, n);
    json_close(&o, ']');
    json_close(&o, '}');
    if (!e)
        printf("%.*s\n", STR_ARG(buf_str(&b)));
    buf_free(&b);
    return e;
}

static int find(const struct guard_finder *f, str rest)
{
    struct arena a;
    enum err e = ERR_OK;
    arena_init(&a, SIZE_MAX / 2);
    for (str line; rest.n && !e; arena_reset(&a)) {
        (void)str_cut(rest, '\n', &line, &rest);
        e = line.n ? find_line(f, &a, line) : ERR_OK;
    }
    arena_free(&a);
    return e ? fail(err_text(e)) : 0;
}

static int show(const struct guard_finder *f, str text)
{
    struct arena a;
    struct guard_span *s = NULL;
    size_t n = 0;
    arena_init(&a, SIZE_MAX / 2);
    enum err e = guard_find(f, &a, text, &s, &n);
    for (size_t i = 0; i < n && !e; i++)
        printf("%zu\t%s\t%s\t%u\t%.*s\n", s[i].begin, guard_type_name(NULL, s[i].type), guard_rule_name(s[i].rule), s[i].score, (int)(s[i].end - s[i].begin), text.p + s[i].begin);
    arena_free(&a);
    return e ? fail(err_text(e)) : 0;
}

/* Of this process: what others do on the machine counts less. */
static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* One pass over `text` in parts of about `piece` bytes; the number of spans, or SIZE_MAX. */
static size_t pass(const struct guard_finder *f, struct arena *a, str text, size_t piece)
{
    size_t spans = 0;
    while (text.n) {
        struct guard_span *s;
        size_t n = text.n, found;
        if (n > piece) {
            const char *line = memchr(text.p + piece, '\n', n - piece);
            n = line ? (size_t)(line + 1 - text.p) : n;
        }
        if (guard_find(f, a, str_slice(text.p, n), &s, &found))
            return SIZE_MAX;
        spans += found;
        arena_reset(a);
        text = str_skip(text, n);
    }
    return spans;
}

/* MB per second of CPU time of `text`, repeated for `seconds`: the best of five parts. */
static double speed(const struct guard_finder *f, str text, size_t piece, double seconds, size_t *spans)
{
    struct arena a;
    double best = 0;
    arena_init(&a, SIZE_MAX / 2);
    for (int part = 0; part < 5 && *spans != SIZE_MAX; part++) {
        double began = cpu_seconds(), now, bytes = 0;
        do {
            *spans = pass(f, &a, text, piece);
            bytes += (double)text.n;
            now = cpu_seconds();
        } while (now - began < seconds / 5);
        best = bytes / 1e6 / (now - began) > best ? bytes / 1e6 / (now - began) : best;
    }
    arena_free(&a);
    return best;
}

static void speed_of(const struct guard_finder *const f[2], const char *name, str text, size_t piece, double seconds)
{
    size_t spans = 0;
    double vector = speed(f[0], text, piece, seconds, &spans), plain = speed(f[1], text, piece, seconds, &spans);
    printf("%-28.28s %8.2f MB %8zu spans %8.1f MB/s %8.1f MB/s plain\n", name, (double)text.n / 1e6, spans, vector, plain);
}

static const char *const worst[] = { "1", "@", "a.", "{", ":", "=", "a@", "1.", "1 ", "Aa ", "12:", "\"", "-----BEGIN PRIVATE KEY-----\n", "eyJ", "sk-", "a:", "password=", "Dear ",
                                     "name: ", "://a:", "1234-", "AB12 ", "+1", "(1", "\xC3\xA9 ", "a-", "4111 ", "address: 1 a,", "born 1.1.", "<a@b.cd>" };

static int worst_cases(const struct guard_finder *const f[2], double seconds)
{
    enum { N = 1 << 20 };
    char *text = malloc(N);
    if (!text)
        return fail("out of memory");
    for (size_t w = 0; w < sizeof worst / sizeof *worst; w++) {
        size_t n = strlen(worst[w]), at = 0;
        for (; at + n <= N; at += n)
            memcpy(text + at, worst[w], n);
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(worst[w], "\n"), worst[w]);
        speed_of(f, name, str_slice(text, at), N, seconds);
    }
    free(text);
    return 0;
}

int main(int argc, char **argv)
{
    struct guard_finder *f[2] = { NULL, NULL };
    bool no_tagger = argc > 1 && str_eq(str_of(argv[1]), S("--no-tagger"));
    struct guard_options vector = { .no_tagger = no_tagger }, plain = { .no_tagger = no_tagger, .scalar = true };
    struct buf b = { .max = SIZE_MAX };
    argc -= no_tagger;
    argv += no_tagger;
    str what = str_of(argc > 1 ? argv[1] : "");
    int rc = 2;
    if (guard_finder_new(&vector, &f[0]) || guard_finder_new(&plain, &f[1]))
        return fail("out of memory");
    const struct guard_finder *const both[2] = { f[0], f[1] };
    if (argc == 3 && (str_eq(what, S("find")) || str_eq(what, S("show"))))
        rc = !read_file(argv[2], &b) ? fail("the file could not be read") : str_eq(what, S("find")) ? find(f[0], buf_str(&b)) : show(f[0], buf_str(&b));
    else if (argc == 3 && str_eq(what, S("worst")))
        rc = worst_cases(both, strtod(argv[2], NULL));
    for (int i = 4; i < argc && str_eq(what, S("speed")); i++) {
        b.n = 0;
        rc = read_file(argv[i], &b) ? 0 : fail("the file could not be read");
        const char *slash = strrchr(argv[i], '/');
        if (!rc)
            speed_of(both, slash ? slash + 1 : argv[i], buf_str(&b), strtoul(argv[3], NULL, 10) << 10, strtod(argv[2], NULL));
    }
    if (rc == 2)
        fprintf(stderr, "usage: guard_raw [--no-tagger] find FILE.jsonl | show FILE | speed SECONDS KIB FILE... | worst SECONDS\n");
    buf_free(&b);
    guard_finder_free(f[0]);
    guard_finder_free(f[1]);
    return rc;
}
