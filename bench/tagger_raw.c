/* What the tagger sees in labelled texts, for tools/train-tagger.
 *
 *   tagger_raw FILE.jsonl       {"text","spans":[{"start","end","type"}]} a line, types PERSON, ADDRESS and THING; for each word that is looked at, 16-bit little-endian numbers
 *                               out: the number of the line from 0 (two of them), its tag, what it is (enum WORD_…), and its features */
#include "core/json.h"
#include "guard/tagger.h"

#include <stdio.h>
#include <stdlib.h>

enum { SPANS_MAX = 512, HEAD = 4 };

struct gold {
    size_t begin, end;
    enum tag tag;
};

static int fail(const char *what) { return fprintf(stderr, "error: %s\n", what), 1; }

static enum err read_gold(json spans, struct gold *g, size_t *n)
{
    enum err e = ERR_OK;
    *n = 0;
    for (json s = json_first(spans); json_type(s) != JSON_NONE && !e; s = json_next(s)) {
        int64_t begin, end;
        json type = json_member(s, S("type"));
        if (*n == SPANS_MAX || !json_i64(json_member(s, S("start")), &begin) ||
            !json_i64(json_member(s, S("end")), &end))
            return ERR_SYNTAX;
        g[(*n)++] = (struct gold){ (size_t)begin, (size_t)end,
                                    json_is(type, S("PERSON"))    ? TAG_PERSON
                                    : json_is(type, S("ADDRESS")) ? TAG_ADDRESS
                                    : json_is(type, S("THING"))   ? TAG_THING
                                                                  : TAG_OTHER };
    }
    return e;
}

/* Every word with its tag, which is also the tag before the next word. */
static void write_words(const struct hunt *h, const struct gold *g, size_t n, uint32_t line)
{
    struct tagger t;
    struct tagger_word w;
    size_t k = 0;
    tagger_init(&t, h);
    while (tagger_next(&t, &w)) {
        while (k < n && g[k].end <= w.begin)
            k++;
        enum tag tag = k < n && g[k].begin < w.end ? g[k].tag : TAG_OTHER;
        uint16_t head[HEAD] = { (uint16_t)line, (uint16_t)(line >> 16), (uint16_t)tag, (uint16_t)w.what };
        fwrite(head, sizeof *head, HEAD, stdout);
        fwrite(w.features, sizeof *w.features, TAGGER_FEATURES, stdout);
        t.last = tag;
        t.last_end = w.end;
    }
}

int main(int argc, char **argv)
{
    static struct gold gold[SPANS_MAX];
    struct arena a, memory;
    arena_init(&a, SIZE_MAX / 2);
    arena_init(&memory, SIZE_MAX / 2);
    const struct words *words = words_new(&memory);
    FILE *f = argc == 2 && words ? fopen(argv[1], "rb") : NULL;
    char *line = NULL;
    size_t cap = 0, n = 0;
    ssize_t got;
    uint32_t number = 0;
    enum err e = f ? ERR_OK : ERR_SYNTAX;
    while (!e && (got = getline(&line, &cap, f)) > 0) {
        json doc;
        str text;
        e = json_parse(&a, str_slice(line, (size_t)got), &JSON_DEFAULT_LIMITS, &doc, NULL);
        e = e ? e : json_text(&a, json_member(doc, S("text")), &text);
        e = e ? e : read_gold(json_member(doc, S("spans")), gold, &n);
        if (!e)
            write_words(&(struct hunt){ .words = words, .scan = scan_plain, .a = &a, .p = text.p, .n = text.n }, gold,
                        n, number++);
        arena_reset(&a);
    }
    free(line);
    arena_free(&a);
    arena_free(&memory);
    if (f)
        fclose(f);
    return e ? fail("usage: tagger_raw FILE.jsonl, or a line of it is not as it must be") : 0;
}
