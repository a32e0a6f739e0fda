/* Chat templates: found, rendered with marks, cut, and tokenized in runs. */
#include "infer/template.h"

#include <llama.h>

#define MAX_TEXT (1u << 30)

/* ---- which template ---- */

static size_t builtin_names(const char *out[128])
{
    int32_t n = llama_chat_builtin_templates(out, 128);
    return n < 0 ? 0 : n > 128 ? 128 : (size_t)n;
}

static int32_t render_probe(const char *text, char *out, int32_t cap)
{
    static const struct llama_chat_message probe[] = { { "system", "a" }, { "user", "b" }, { "assistant", "c" }, { "user", "d" } };
    return llama_chat_apply_template(text, probe, sizeof probe / sizeof probe[0], true, out, cap);
}

/* libllama does not say which of its templates it recognized; the first that renders the same is as good a name. */
static void name_family(struct chat_template *t)
{
    const char *names[128];
    char mine[4096], theirs[4096];
    int32_t n = render_probe(t->text, mine, sizeof mine);
    size_t count = builtin_names(names);
    snprintf(t->family, sizeof t->family, "other");
    for (size_t i = 0; i < count && n > 0 && n < (int32_t)sizeof mine; i++)
        if (render_probe(names[i], theirs, sizeof theirs) == n && memcmp(mine, theirs, (size_t)n) == 0) {
            snprintf(t->family, sizeof t->family, "%s", names[i]);
            return;
        }
}

static enum err find_builtin(const char *family, struct chat_template *out, char why[TEMPLATE_WHY])
{
    const char *names[128];
    size_t count = builtin_names(names), n = 0;
    for (size_t i = 0; i < count; i++)
        if (strcmp(names[i], family) == 0) {
            *out = (struct chat_template){ .text = names[i], .digest = sha256_of(str_of(names[i])) };
            snprintf(out->family, sizeof out->family, "%s", family);
            return ERR_OK;
        }
    n = (size_t)snprintf(why, TEMPLATE_WHY, "libllama has no chat template '%.40s'; it has:", family);
    for (size_t i = 0; i < count && n + strlen(names[i]) + 2 < TEMPLATE_WHY; i++)
        n += (size_t)snprintf(why + n, TEMPLATE_WHY - n, " %s", names[i]);
    return ERR_NOTFOUND;
}

enum err template_find(const struct llama_model *model, const char *family, struct chat_template *out, char why[TEMPLATE_WHY])
{
    char probe[16];
    if (family)
        return find_builtin(family, out, why);
    const char *text = llama_model_chat_template(model, NULL);
    if (!text || !*text) {
        *out = (struct chat_template){ .text = NULL };
        return ERR_OK;
    }
    if (render_probe(text, probe, sizeof probe) < 0) {
        snprintf(why, TEMPLATE_WHY, "this model's chat template (\"%.60s…\") is not one that libllama knows: name its family with --template chatml, "
                 "llama3, gemma, mistral-v7, … (hearth-engine --template list shows all)", text);
        return ERR_NOTFOUND;
    }
    *out = (struct chat_template){ .text = text, .digest = sha256_of(str_of(text)) };
    name_family(out);
    return ERR_OK;
}

enum err template_find_tools(const struct llama_model *model, const char *name, struct chat_template *out, char why[TEMPLATE_WHY])
{
    const struct llama_vocab *vocab = llama_model_get_vocab(model);
    char names[128];
    out->tools = name ? tool_format_named(str_of(name)) : tool_format_of(str_of(llama_model_chat_template(model, NULL)));
    out->guarded = 0;
    out->marker = -1;
    if (!out->tools) {
        tool_format_names(names, sizeof names);
        snprintf(why, TEMPLATE_WHY, "there is no way of calling tools named '%.40s'; there are: %s", name, names);
        return ERR_NOTFOUND;
    }
    for (unsigned i = 0; i < sizeof out->tools->guards / sizeof *out->tools->guards; i++) {
        str guard = str_of(out->tools->guards[i]);
        llama_token t[2];
        if (guard.n && llama_tokenize(vocab, guard.p, (int32_t)guard.n, t, 2, false, true) == 1 && (llama_vocab_get_attr(vocab, t[0]) & LLAMA_TOKEN_ATTR_USER_DEFINED))
            out->guarded |= 1u << i;
    }
    str marker = str_of(*out->tools->marker ? out->tools->marker : out->tools->tag);
    llama_token t[2];
    if (marker.n && llama_tokenize(vocab, marker.p, (int32_t)marker.n, t, 2, false, true) == 1 && llama_vocab_is_control(vocab, t[0]))
        out->marker = t[0];
    return ERR_OK;
}

/* ---- rendering with marks ---- */

static void mark_new(struct rng *r, struct template_mark *m)
{
    m->text[0] = m->text[TEMPLATE_MARK - 1] = '\v';
    for (size_t i = 1; i < TEMPLATE_MARK - 1; i++)
        m->text[i] = (char)('a' + rand_u64(r) % 26);
    m->text[TEMPLATE_MARK] = 0;
}

enum err template_split(str rendered, const struct template_mark *marks, size_t n, struct template_piece *out, str *after)
{
    str rest = rendered;
    for (size_t i = 0; i < n; i++) {
        str letters = str_slice(marks[i].text + 1, TEMPLATE_MARK - 2);
        size_t at = str_find(rest, letters), end = at + letters.n;
        if (at == rest.n)
            return ERR_UNSUPPORTED;
        bool tab_before = at > 0 && rest.p[at - 1] == '\v', tab_after = end < rest.n && rest.p[end] == '\v';
        out[i] = (struct template_piece){ str_slice(rest.p, at - tab_before), !tab_before, !tab_after };
        rest = str_skip(rest, end + tab_after);
    }
    for (size_t i = 0; i < n; i++)
        if (str_find(rest, str_slice(marks[i].text + 1, TEMPLATE_MARK - 2)) < rest.n)
            return ERR_UNSUPPORTED;
    *after = rest;
    return ERR_OK;
}

static enum err render(struct arena *a, const struct chat_template *t, const struct template_message *messages, size_t count, const struct template_mark *marks, str *out)
{
    struct llama_chat_message *m = arena_new(a, struct llama_chat_message, count);
    if (!m)
        return ERR_LIMIT;
    for (size_t i = 0; i < count; i++) {
        m[i].role = messages[i].role;
        m[i].content = marks[i].text;
    }
    int32_t n = llama_chat_apply_template(t->text, m, count, true, NULL, 0);
    if (n < 0)
        return ERR_UNSUPPORTED;
    char *p = arena_alloc(a, (size_t)n + 1, 1);
    if (!p)
        return ERR_LIMIT;
    llama_chat_apply_template(t->text, m, count, true, p, n);
    *out = str_slice(p, (size_t)n);
    return ERR_OK;
}

/* ---- tokens ---- */

struct prompt {                         /* tokens so far, and the run of plain text that comes next */
    struct arena *a;
    const struct llama_vocab *vocab;
    struct token_list out;
    size_t cap;
    struct buf run;
    const struct chat_template *guards; /* NULL: nothing to look out for */
};

static enum err prompt_room(struct prompt *p, size_t more)
{
    size_t cap = p->out.n * 2 + more;
    if (p->out.n + more <= p->cap)
        return ERR_OK;
    int32_t *grown = arena_grow(p->a, p->out.p, p->cap * sizeof *grown, cap * sizeof *grown, _Alignof(int32_t));
    if (!grown)
        return ERR_LIMIT;
    p->out.p = grown;
    p->cap = cap;
    return ERR_OK;
}

static enum err prompt_end_run(struct prompt *p)
{
    if (p->run.n == 0)
        return ERR_OK;
    enum err e = prompt_room(p, p->run.n + 4);
    if (e != ERR_OK)
        return e;
    int32_t *at = p->out.p + p->out.n;
    int32_t n = llama_tokenize(p->vocab, p->run.p, (int32_t)p->run.n, at, (int32_t)(p->cap - p->out.n), false, false);
    if (n < 0)
        return ERR_LIMIT;
    for (int32_t i = 0; i < n; i++)
        if (llama_vocab_is_control(p->vocab, at[i]) || llama_vocab_is_eog(p->vocab, at[i]))
            return ERR_FORBIDDEN;
    p->out.n += (size_t)n;
    buf_clear(&p->run);
    return ERR_OK;
}

static enum err prompt_add_control(struct prompt *p, llama_token t)
{
    enum err e = prompt_end_run(p);
    if (e == ERR_OK)
        e = prompt_room(p, 1);
    if (e == ERR_OK)
        p->out.p[p->out.n++] = t;
    return e;
}

static bool is_special(const struct llama_vocab *vocab, llama_token t)
{
    return llama_vocab_is_control(vocab, t) || llama_vocab_is_eog(vocab, t);
}

/* Template text: its control tokens become tokens, what stands between them joins the run. */
static enum err prompt_add_template(struct prompt *p, str text)
{
    llama_token *t = arena_new(p->a, llama_token, text.n + 4);
    if (!t)
        return ERR_LIMIT;
    int32_t n = llama_tokenize(p->vocab, text.p, (int32_t)text.n, t, (int32_t)text.n + 4, false, true);
    enum err e = n < 0 ? ERR_LIMIT : ERR_OK;
    for (int32_t i = 0; i < n && e == ERR_OK; i++) {
        if (!is_special(p->vocab, t[i]))
            continue;
        str name = str_of(llama_vocab_get_text(p->vocab, t[i]));
        size_t at = str_find(text, name);
        if (name.n == 0 || at == text.n)
            return ERR_INTERNAL;
        e = buf_put(&p->run, str_slice(text.p, at));
        if (e == ERR_OK)
            e = prompt_add_control(p, t[i]);
        text = str_skip(text, at + name.n);
    }
    return e != ERR_OK ? e : buf_put(&p->run, text);
}

/* The first guarded name in `text`; its first byte. text.n: there is none. */
static size_t find_guarded(const struct chat_template *t, str text)
{
    size_t first = text.n;
    for (unsigned i = 0; t && i < sizeof t->tools->guards / sizeof *t->tools->guards; i++) {
        size_t at = t->guarded >> i & 1 ? str_find(text, str_of(t->tools->guards[i])) : text.n;
        first = at < first ? at : first;
    }
    return first;
}

/* Text of the client. libllama makes some tokens of the vocabulary out of any text that holds their names; a run that ends inside of
 * the name keeps them apart. */
static enum err prompt_add_client(struct prompt *p, str text)
{
    enum err e = ERR_OK;
    while (text.n && !e) {
        size_t at = find_guarded(p->guards && p->guards->guarded ? p->guards : NULL, text), n = at < text.n ? at + 1 : text.n;
        e = buf_put(&p->run, str_slice(text.p, n));
        if (!e && n < text.n)
            e = prompt_end_run(p);
        text = str_skip(text, n);
    }
    return e;
}

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static str trimmed(str s, bool start, bool end)
{
    while (start && s.n && is_space(s.p[0]))
        s = str_skip(s, 1);
    while (end && s.n && is_space(s.p[s.n - 1]))
        s.n--;
    return s;
}

static enum err prompt_start(struct prompt *p, bool bos)
{
    llama_token t = llama_vocab_bos(p->vocab);
    return bos && llama_vocab_get_add_bos(p->vocab) && t != LLAMA_TOKEN_NULL ? prompt_add_control(p, t) : ERR_OK;
}

/* Templates that write the beginning-of-sequence token themselves would make it stand twice. */
static void prompt_drop_double_bos(struct prompt *p)
{
    if (p->out.n > 1 && p->out.p[0] == p->out.p[1] && p->out.p[0] == llama_vocab_bos(p->vocab)) {
        memmove(p->out.p, p->out.p + 1, (p->out.n - 1) * sizeof *p->out.p);
        p->out.n--;
        p->out.head -= p->out.head > 0;
    }
}

size_t template_longest_token(const struct llama_vocab *vocab)
{
    size_t longest = 1;
    for (int32_t i = 0; i < llama_vocab_n_tokens(vocab); i++) {
        size_t n = strlen(llama_vocab_get_text(vocab, i));
        longest = n > longest ? n : longest;
    }
    return longest;
}

static enum err too_long(struct arena *a, const struct prompt_limits *lim, bool chat, bool at_least, size_t n, struct wire_error *why)
{
    *why = (struct wire_error){ ERR_CONTEXT, arena_printf(a, "This model's maximum context length is %zu tokens. However, your %s resulted in %s%zu tokens. "
                                "Please reduce the length of the %s.", lim->context, chat ? "messages" : "prompt", at_least ? "at least " : "", n,
                                chat ? "messages" : "prompt"), chat ? S("messages") : S("prompt") };
    return ERR_CONTEXT;
}

static enum err prompt_finish(struct prompt *p, enum err e, const struct prompt_limits *lim, bool chat, struct token_list *out, struct wire_error *why)
{
    if (e == ERR_OK)
        e = prompt_end_run(p);
    buf_free(&p->run);
    if (e == ERR_OK) {
        prompt_drop_double_bos(p);
        if (p->out.n + 1 > lim->context)
            return too_long(p->a, lim, chat, false, p->out.n, why);
        *out = p->out;
        return ERR_OK;
    }
    *why = (struct wire_error){ e, e == ERR_FORBIDDEN ? S("the text holds a control token of this model") : STR_NONE, STR_NONE };
    return e;
}

/* A text that cannot fit is refused before it is tokenized. */
static enum err check_size(struct arena *a, const struct prompt_limits *lim, size_t total, struct wire_error *why)
{
    return total > MAX_TEXT || total / lim->longest_token > lim->context ? too_long(a, lim, true, true, total / lim->longest_token, why) : ERR_OK;
}

static enum err add_message(struct prompt *p, const struct template_message *m, const struct template_piece *piece)
{
    enum err e = ERR_OK;
    for (size_t i = 0; i < m->n && !e; i++) {
        str text = trimmed(m->parts[i].text, piece->trim_start && i == 0, piece->trim_end && i + 1 == m->n);
        e = m->parts[i].own ? prompt_add_template(p, text) : prompt_add_client(p, text);
    }
    return e;
}

static enum err no_template(struct wire_error *why)
{
    *why = (struct wire_error){ ERR_UNSUPPORTED, S("this model has no chat template: use /v1/completions, or start it with --template"), S("messages") };
    return ERR_UNSUPPORTED;
}

enum err template_messages(struct arena *a, const struct chat_template *t, const struct llama_vocab *vocab, const struct prompt_limits *lim,
                           struct rng *r, const struct template_message *messages, size_t n, struct token_list *out, struct wire_error *why)
{
    str rendered, after;
    struct template_mark *marks = arena_new(a, struct template_mark, n);
    struct template_piece *pieces = arena_new(a, struct template_piece, n);
    struct prompt p = { .a = a, .vocab = vocab, .guards = t };
    size_t total = 0;
    if (!t->text)
        return no_template(why);
    *why = (struct wire_error){ ERR_LIMIT, STR_NONE, STR_NONE };
    if (!marks || !pieces)
        return ERR_LIMIT;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < messages[i].n; k++)
            total += messages[i].parts[k].text.n;
    enum err e = check_size(a, lim, total, why);
    if (e != ERR_OK)
        return e;
    for (size_t i = 0; i < n; i++)
        mark_new(r, &marks[i]);
    e = render(a, t, messages, n, marks, &rendered);
    if (e == ERR_OK)
        e = template_split(rendered, marks, n, pieces, &after);
    if (e != ERR_OK) {
        *why = (struct wire_error){ e, e == ERR_UNSUPPORTED ? S("this model's chat template does not take these roles in this order") : STR_NONE, S("messages") };
        return e;
    }
    buf_init(&p.run, (size_t)MAX_TEXT * 2);
    e = prompt_start(&p, true);
    for (size_t i = 0; i < n && e == ERR_OK; i++) {
        e = prompt_add_template(&p, pieces[i].before);
        if (!p.out.head && strcmp(messages[i].role, "system") != 0)
            p.out.head = p.out.n;       /* up to the last control token: what follows is tokenized together with this text */
        if (e == ERR_OK)
            e = add_message(&p, &messages[i], &pieces[i]);
    }
    if (e == ERR_OK)
        e = prompt_add_template(&p, after);
    return prompt_finish(&p, e, lim, true, out, why);
}

enum err template_whole(struct arena *a, const struct chat_template *t, const struct llama_vocab *vocab, const struct prompt_limits *lim,
                        const struct template_part *parts, size_t n, struct token_list *out, struct wire_error *why)
{
    struct prompt p = { .a = a, .vocab = vocab, .guards = t };
    size_t total = 0;
    for (size_t i = 0; i < n; i++)
        total += parts[i].text.n;
    enum err e = t->text ? check_size(a, lim, total, why) : no_template(why);
    if (e != ERR_OK)
        return e;
    buf_init(&p.run, (size_t)MAX_TEXT * 2);
    e = prompt_start(&p, true);
    if (e == ERR_OK)
        e = add_message(&p, &(struct template_message){ .parts = (struct template_part *)parts, .n = n }, &(struct template_piece){ .trim_start = false });
    return prompt_finish(&p, e, lim, true, out, why);
}

enum err template_chat(struct arena *a, const struct chat_template *t, const struct llama_vocab *vocab, const struct prompt_limits *lim,
                       struct rng *r, const struct call *c, struct token_list *out, struct wire_error *why)
{
    struct template_message *m = arena_new(a, struct template_message, c->n_messages);
    struct template_part *parts = arena_new(a, struct template_part, c->n_messages);
    *why = (struct wire_error){ ERR_LIMIT, STR_NONE, STR_NONE };
    if (!t->text)
        return no_template(why);
    if (!m || !parts)
        return ERR_LIMIT;
    for (size_t i = 0; i < c->n_messages; i++) {
        enum role role = c->messages[i].role;
        enum err e = message_text(a, &c->messages[i], &parts[i].text);
        if (e != ERR_OK) {
            *why = (struct wire_error){ e, e == ERR_UNSUPPORTED ? S("messages may hold text only") : STR_NONE, arena_printf(a, "messages[%zu].content", i) };
            return e;
        }
        m[i] = (struct template_message){ role == ROLE_SYSTEM ? "system" : role == ROLE_ASSISTANT ? "assistant" : "user", &parts[i], 1 };
    }
    return template_messages(a, t, vocab, lim, r, m, c->n_messages, out, why);
}

enum err template_text(struct arena *a, const struct llama_vocab *vocab, const struct prompt_limits *lim, bool start, str text,
                       struct token_list *out, struct wire_error *why)
{
    struct prompt p = { .a = a, .vocab = vocab };
    if (text.n > MAX_TEXT || text.n / lim->longest_token > lim->context)
        return too_long(a, lim, false, true, text.n / lim->longest_token, why);
    buf_init(&p.run, MAX_TEXT);
    enum err e = prompt_start(&p, start);
    if (e == ERR_OK)
        e = buf_put(&p.run, text);
    return prompt_finish(&p, e, lim, false, out, why);
}
