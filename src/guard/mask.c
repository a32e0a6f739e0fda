/* guard/mask.c: the document for the finder, its spans back in the texts, and the pieces that replace them. A text's pieces are a list, so that those for
 * what was typed can be put between the others. */
#include "guard/mask.h"

#include <assert.h>
#include <stdlib.h>

/* ---- searching ---- */

/* A text within the finder's document. */
struct region {
    size_t begin, end;                  /* in the document */
    size_t text;
    const uint32_t *map;                /* decoded once more: where each byte, and the end, stands in the text; NULL: byte for byte */
};

struct scan {
    struct arena *a;
    const struct walk *w;
    char *p;                            /* the document; its room was counted before */
    size_t n;
    struct region *regions;
    size_t n_regions;
    struct guard_verdict *out;
};

static int hex(char c) { return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1; }

static int hex_at(str s, size_t at, size_t digits)
{
    int v = 0;
    if (s.n - at < digits)
        return -1;
    for (size_t i = 0; i < digits; i++) {
        int d = hex(s.p[at + i]);
        if (d < 0)
            return -1;
        v = v << 4 | d;
    }
    return v;
}

/* The ASCII character that is written at `at` as %40, \u0040 or \x40, and how many bytes that takes; 0: none. Others decide no match of the finder. */
static size_t escape_at(str s, size_t at, char *c)
{
    size_t skip = s.p[at] == '%' ? 1 : 0, digits = 2;
    if (s.p[at] == '\\' && at + 1 < s.n && (s.p[at + 1] == 'u' || s.p[at + 1] == 'x')) {
        skip = 2;
        digits = s.p[at + 1] == 'u' ? 4 : 2;
    }
    int v = skip && s.n - at > skip ? hex_at(s, at + skip, digits) : -1;
    if (v < 0x20 || v >= 0x7F)
        return 0;
    *c = (char)v;
    return skip + digits;
}

static bool has_escape(str s)
{
    char c;
    for (size_t i = 0; i < s.n; i++)
        if ((s.p[i] == '%' || s.p[i] == '\\') && escape_at(s, i, &c))
            return true;
    return false;
}

static void put(struct scan *q, str s)
{
    if (s.n)
        memcpy(q->p + q->n, s.p, s.n);
    q->n += s.n;
}

static void put_region(struct scan *q, size_t text, const uint32_t *map, str s)
{
    q->regions[q->n_regions++] = (struct region){ q->n, q->n + s.n, text, map };
    put(q, s);
}

static enum err put_decoded(struct scan *q, size_t text, str s)
{
    char *to = arena_alloc(q->a, s.n, 1);
    uint32_t *map = arena_new(q->a, uint32_t, s.n + 1);
    size_t n = 0;
    if (!to || !map)
        return ERR_LIMIT;
    for (size_t i = 0; i < s.n; n++) {
        size_t took = escape_at(s, i, &to[n]);
        map[n] = (uint32_t)i;
        if (!took)
            to[n] = s.p[i];
        i += took ? took : 1;
    }
    map[n] = (uint32_t)s.n;
    put_region(q, text, map, (str){ to, n });
    put(q, S("\n\n"));
    return ERR_OK;
}

static enum err make_document(struct scan *q)
{
    size_t room = 0;
    for (size_t i = 0; i < q->w->n; i++)
        room += 2 * q->w->texts[i].text.n + q->w->texts[i].key.n + 16;
    q->p = arena_alloc(q->a, room, 1);
    q->regions = arena_new(q->a, struct region, 2 * q->w->n + 1);
    if (!q->p || !q->regions)
        return ERR_LIMIT;
    for (size_t i = 0; i < q->w->n; i++) {
        const struct walk_text *t = &q->w->texts[i];
        if (t->key.n) {
            put(q, S("\""));
            put(q, t->key);
            put(q, S("\": \""));
        }
        put_region(q, i, NULL, t->text);
        put(q, t->key.n ? S("\"\n") : S("\n\n"));
        enum err e = has_escape(t->text) ? put_decoded(q, i, t->text) : ERR_OK;
        if (e)
            return e;
    }
    assert(q->n <= room);
    return ERR_OK;
}

static enum err put_hit(struct arena *a, struct guard_verdict *v, struct guard_hit h)
{
    struct guard_hit *grown = arena_more(a, v->hits, v->n, &v->cap);
    if (!grown)
        return ERR_LIMIT;
    v->hits = grown;
    v->hits[v->n++] = h;
    return ERR_OK;
}

static enum err add_hit(struct scan *q, const struct region *r, const struct guard_span *s)
{
    size_t begin = (s->begin > r->begin ? s->begin : r->begin) - r->begin, end = (s->end < r->end ? s->end : r->end) - r->begin;
    struct guard_hit h = { r->text, *s };
    h.span.begin = r->map ? r->map[begin] : begin;
    h.span.end = r->map ? r->map[end] : end;
    return put_hit(q->a, q->out, h);
}

static int by_place(const void *x, const void *y)
{
    const struct guard_hit *a = x, *b = y;
    if (a->text != b->text)
        return a->text < b->text ? -1 : 1;
    return (a->span.begin > b->span.begin) - (a->span.begin < b->span.begin);
}

/* Hits of the two views of a text may overlap: then they are one, of the surer kind. */
static void merge_hits(struct guard_verdict *v)
{
    size_t n = 0;
    if (v->n > 1)
        qsort(v->hits, v->n, sizeof *v->hits, by_place);
    for (size_t i = 0; i < v->n; i++) {
        struct guard_hit h = v->hits[i], *last = n ? &v->hits[n - 1] : NULL;
        if (!last || last->text != h.text || last->span.end <= h.span.begin) {
            v->hits[n++] = h;
            continue;
        }
        size_t begin = last->span.begin, end = last->span.end > h.span.end ? last->span.end : h.span.end;
        if (h.span.score > last->span.score)
            *last = h;
        last->span.begin = begin;
        last->span.end = end;
    }
    v->n = n;
}

static str hit_value(const struct guard_verdict *v, const struct guard_hit *h)
{
    return (str){ v->walk.texts[h->text].text.p + h->span.begin, h->span.end - h->span.begin };
}

/* "password = [SECRET_k7q2m]" of an earlier turn is masked already. Whether it is restored is another question, which the set decides. */
static enum err drop_known(struct arena *a, const struct guard_search *search, struct guard_verdict *v)
{
    size_t n = 0;
    for (size_t i = 0; i < v->n; i++) {
        str s = hit_value(v, &v->hits[i]);
        if (s.n > 2 && s.p[0] == '[')
            s = str_skip(s, 1);
        if (s.n > 1 && s.p[s.n - 1] == ']')
            s.n--;
        enum err e = placeholder_may_be_stem(s) ? vault_knows(search->vault, a, search->realm, s) : ERR_NOTFOUND;
        if (e == ERR_NOTFOUND)
            v->hits[n++] = v->hits[i];
        else if (e)
            return e;
    }
    v->n = n;
    return ERR_OK;
}

enum err guard_scan(struct arena *a, const struct guard_search *search, str body, const struct walk_options *o, struct guard_verdict *out)
{
    *out = (struct guard_verdict){ 0 };
    struct scan q = { .a = a, .w = &out->walk, .out = out };
    struct guard_span *spans = NULL;
    size_t n = 0, r = 0;
    enum err e = walk_body(a, body, o, &out->walk);
    if (!e)
        e = make_document(&q);
    if (!e)
        e = search->find(search->ctx, a, (str){ q.p, q.n }, &spans, &n);
    for (size_t i = 0; i < n && !e; i++) {
        while (r < q.n_regions && q.regions[r].end <= spans[i].begin)
            r++;
        /* A span that reaches over several texts is a hit in each. */
        for (size_t k = r; k < q.n_regions && q.regions[k].begin < spans[i].end && !e; k++)
            if (q.regions[k].end > q.regions[k].begin)
                e = add_hit(&q, &q.regions[k], &spans[i]);
    }
    if (e)
        return e;
    merge_hits(out);
    return search->vault ? drop_known(a, search, out) : ERR_OK;
}

static bool is_wordy(char c) { return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || (unsigned char)c >= 0x80; }

static bool word_at(str text, size_t at, str word)
{
    return str_ieq((str){ text.p + at, word.n }, word) && !(at && is_wordy(text.p[at - 1]) && is_wordy(word.p[0])) &&
           !(at + word.n < text.n && is_wordy(text.p[at + word.n]) && is_wordy(word.p[word.n - 1]));
}

enum { WORD_LEAST = 2, WORD_MOST = 60 };

enum err guard_add(struct arena *a, struct guard_verdict *v, const struct guard_word *words, size_t n)
{
    for (size_t w = 0; w < n; w++) {
        str word = words[w].text;
        if (word.n < WORD_LEAST || word.n > WORD_MOST || (unsigned)words[w].type >= GUARD_N_TYPES)
            continue;
        for (size_t t = 0; t < v->walk.n; t++) {
            str text = v->walk.texts[t].text;
            for (size_t i = 0; i + word.n <= text.n; i++) {
                if (!word_at(text, i, word))
                    continue;
                enum err e = put_hit(a, v, (struct guard_hit){ t, { .begin = i, .end = i + word.n, .type = words[w].type, .score = 100 } });
                if (e)
                    return e;
                i += word.n - 1;
            }
        }
    }
    merge_hits(v);
    return ERR_OK;
}

static bool masks(const struct guard_verdict *v, const struct guard_policy *p, const struct guard_hit *h)
{
    return guard_policy_masks(p, h->span.type, h->span.score, hit_value(v, h));
}

void guard_count(const struct guard_verdict *v, const struct guard_policy *p, size_t found[GUARD_N_TYPES])
{
    memset(found, 0, GUARD_N_TYPES * sizeof *found);
    for (size_t i = 0; i < v->n; i++)
        found[v->hits[i].span.type] += masks(v, p, &v->hits[i]);
}

/* ---- masking ---- */

struct piece {
    size_t begin, end;                  /* of the text that is replaced */
    struct vault_token token;
    struct piece *next;
};

struct masker {
    struct arena *a;
    struct vault *vault;
    const struct guard_policy *p;
    const struct mask_job *job;
    struct guard_verdict *v;
    struct restore_set *set;
    struct piece **of;                  /* by text: its pieces, in order */
    struct mask_report *report;
    size_t notes_cap;
};

static enum err note(struct masker *m, const struct guard_span *s, str token)
{
    struct mask_report *r = m->report;
    struct mask_note *grown = arena_more(m->a, r->notes, r->n, &m->notes_cap);
    if (!grown)
        return ERR_LIMIT;
    r->notes = grown;
    r->notes[r->n++] = (struct mask_note){ s->type, s->rule, s->score, token };
    return ERR_OK;
}

/* One piece in place of s->begin to s->end of a text, put into its list at *at; *at is then the place behind it. */
static enum err add_piece(struct masker *m, size_t text, const struct guard_span *s, bool keep, struct piece ***at)
{
    const struct walk_text *t = &m->v->walk.texts[text];
    struct piece *made = arena_new(m->a, struct piece, 1);
    if (!made)
        return ERR_LIMIT;
    struct vault_ask ask = { .realm = m->job->realm, .type = s->type, .value = { t->text.p + s->begin, s->end - s->begin }, .at_us = m->job->at_us };
    if (s->type >= GUARD_OWN)
        ask.name = str_of(guard_type_name(m->job->names, s->type));
    ask.keep = keep && ask.value.n <= PLACEHOLDER_VALUE_MAX;
    bool fits = placeholder_fits((str){ t->text.p, s->begin }, str_skip(t->text, s->end));
    ask.form = t->is_number ? VAULT_NUMBER : m->p->rules.types[s->type].surrogate && fits ? VAULT_SURROGATE : VAULT_PLACEHOLDER;
    enum err e = vault_ask_token(m->vault, m->a, &ask, &made->token);
    if (e)
        return e == ERR_RANGE ? ERR_PRIVATE : e;
    made->begin = s->begin;
    made->end = s->end;
    made->next = **at;
    **at = made;
    *at = &made->next;
    e = note(m, s, made->token.text);
    return e || !ask.keep ? e : restore_set_add(m->a, m->set, made->token.text, ask.value, s->type, made->token.bare);
}

static bool is_plain(char c) { return (unsigned char)c >= 0x20 && c != '"' && c != '\\'; }

/* A value that is to be restored, in parts between what JSON would have to escape. Parts without a letter or digit say nothing and stay. */
static enum err add_parts(struct masker *m, size_t text, const struct guard_span *s, struct piece ***at)
{
    const char *p = m->v->walk.texts[text].text.p;
    enum err e = ERR_OK;
    for (size_t i = s->begin; i < s->end && !e;) {
        struct guard_span part = *s;
        bool wordy = false;
        while (i < s->end && (!is_plain(p[i]) || p[i] == ' '))
            i++;
        part.begin = i;
        for (; i < s->end && is_plain(p[i]); i++)
            wordy = wordy || is_wordy(p[i]);
        part.end = i;
        while (part.end > part.begin && p[part.end - 1] == ' ')
            part.end--;
        if (wordy)
            e = add_piece(m, text, &part, true, at);
    }
    return e;
}

static enum err add_hits(struct masker *m)
{
    size_t last = SIZE_MAX;
    struct piece **at = NULL;
    for (size_t i = 0; i < m->v->n; i++) {
        const struct guard_hit *h = &m->v->hits[i];
        if (!masks(m->v, m->p, h))
            continue;
        const struct walk_text *t = &m->v->walk.texts[h->text];
        struct guard_span s = h->span;
        bool keep = m->p->rules.types[s.type].restore == GUARD_RESTORE;
        bool again = at && h->text == last;
        if (!again)
            at = &m->of[h->text];
        last = h->text;
        if (t->is_number) {             /* as a whole, once: it must stay a number */
            if (again)
                continue;
            s.begin = 0;
            s.end = t->text.n;
        }
        enum err e = keep && !t->is_number ? add_parts(m, h->text, &s, &at) : add_piece(m, h->text, &s, keep, &at);
        if (e)
            return e;
    }
    return ERR_OK;
}

/* The part of a typed placeholder that is masked, so that the rest is none any more: the longest without what JSON escapes. */
static struct guard_span typed_part(str text, size_t begin, size_t end)
{
    struct guard_span best = { .type = GUARD_CUSTOM, .score = 100 };
    for (size_t i = begin; i < end; i++) {
        size_t from = i;
        while (i < end && is_plain(text.p[i]))
            i++;
        if (i - from > best.end - best.begin) {
            best.begin = from;
            best.end = i;
        }
    }
    return best;
}

/* Looks through what is left of a text between its pieces. */
static enum err mask_typed(struct masker *m, size_t text, bool *any)
{
    const struct walk_text *t = &m->v->walk.texts[text];
    struct piece **at = &m->of[text];
    for (size_t from = 0;;) {
        size_t until = *at ? (*at)->begin : t->text.n, look = 0;
        struct restore_place found;
        str run = { t->text.p + from, until - from };
        while (restore_find(m->set, run, look, &found)) {
            struct guard_span s = typed_part(t->text, from + found.begin, from + found.end);
            enum err e = add_piece(m, text, &s, true, &at);
            if (e)
                return e;
            *any = true;
            m->report->typed++;
            look = found.end;
        }
        if (!*at)
            return ERR_OK;
        from = (*at)->end;
        at = &(*at)->next;
    }
}

/* What is put for something typed may itself have been typed elsewhere, by somebody who has seen it, and so on. Each round ends one step of such a chain;
 * one that is longer is no accident, and the call is refused. */
enum { TYPED_ROUNDS = 32 };
static enum err mask_all_typed(struct masker *m)
{
    for (int rounds = 0; rounds < TYPED_ROUNDS; rounds++) {
        bool any = false;
        restore_set_ready(m->set);
        for (size_t i = 0; i < m->v->walk.n && m->set->n; i++) {
            enum err e = mask_typed(m, i, &any);
            if (e)
                return e;
        }
        if (!any)
            return ERR_OK;
    }
    return ERR_PRIVATE;
}

static enum err compose(struct arena *a, struct walk_text *t, const struct piece *pieces)
{
    size_t n = t->text.n;
    for (const struct piece *p = pieces; p; p = p->next)
        n += p->token.text.n + 2;
    char *to = arena_alloc(a, n, 1);
    size_t at = 0, k = 0;
    if (!to)
        return ERR_LIMIT;
    for (const struct piece *p = pieces;; p = p->next) {
        size_t until = p ? p->begin : t->text.n;
        str parts[] = { { t->text.p + at, until - at }, p && !p->token.bare ? S("[") : STR_NONE, p ? p->token.text : STR_NONE, p && !p->token.bare ? S("]") : STR_NONE };
        k += str_join(to + k, n - k, parts, 4);
        if (!p)
            break;
        at = p->end;
    }
    t->to = (str){ to, k };
    return ERR_OK;
}

enum err guard_mask(struct arena *a, struct vault *vault, const struct guard_policy *p, const struct mask_job *job, struct guard_verdict *v, struct restore_set *set, struct buf *out,
                    struct mask_report *report)
{
    *report = (struct mask_report){ 0 };
    struct masker m = { .a = a, .vault = vault, .p = p, .job = job, .v = v, .set = set, .report = report, .of = arena_new(a, struct piece *, v->walk.n + 1) };
    if (!m.of)
        return ERR_LIMIT;
    enum err e = add_hits(&m);
    if (!e)
        e = mask_all_typed(&m);
    for (size_t i = 0; i < v->walk.n && !e; i++) {
        v->walk.texts[i].to = STR_NONE;
        if (m.of[i])
            e = compose(a, &v->walk.texts[i], m.of[i]);
    }
    return e ? e : walk_write(&v->walk, out);
}
