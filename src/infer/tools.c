/* The table of families, and the prompts that they write. */
#include "infer/tools.h"

#include <stdio.h>

#define HERMES .marker = "<tool_call>", .open = "\n", .close = "\n</tool_call>", .next = "\n", .arguments = "arguments", .many = true, \
               .guards = { "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<tools>", "</tools>" }

static const struct tool_format formats[] = {
    { .name = "mistral", .signs = { "[TOOL_CALLS]", "[AVAILABLE_TOOLS]" }, .not_signs = { "[ARGS]", NULL }, .marker = "[TOOL_CALLS]", .open = "[", .close = "]", .next = ", ", .arguments = "arguments",
      .list = true, .many = true, .ids = true, .guards = { "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]", NULL } },
    { .name = "hermes", .signs = { "<tool_call>", "arguments" }, .not_signs = { "<function=", "<arg_key>" }, HERMES },
    { .name = "llama3", .signs = { "<|start_header_id|>", "ipython" }, .marker = "", .tag = "<|python_tag|>", .open = "", .close = "", .next = "; ", .arguments = "parameters" },
    { .name = "generic", HERMES },
};
enum { FORMATS = sizeof formats / sizeof *formats };

const struct tool_format *tool_format_named(str name)
{
    for (size_t i = 0; i < FORMATS; i++)
        if (str_eq(name, str_of(formats[i].name)))
            return &formats[i];
    return NULL;
}

static bool stands_in(str text, const char *sign) { return sign && str_find(text, str_of(sign)) < text.n; }

const struct tool_format *tool_format_of(str text)
{
    for (size_t i = 0; i + 1 < FORMATS; i++)
        if (stands_in(text, formats[i].signs[0]) && stands_in(text, formats[i].signs[1]) && !stands_in(text, formats[i].not_signs[0]) && !stands_in(text, formats[i].not_signs[1]))
            return &formats[i];
    return &formats[FORMATS - 1];
}

void tool_format_names(char *out, size_t cap)
{
    size_t n = 0;
    for (size_t i = 0; i < FORMATS && n < cap; i++)
        n += (size_t)snprintf(out + n, cap - n, "%s%s", i ? " " : "", formats[i].name);
}

/* ---- what a call asks for ---- */

static enum err wrong(struct arena *a, struct wire_error *why, enum err e, str param, const char *what)
{
    *why = (struct wire_error){ e, arena_printf(a, "%.*s: %s", STR_ARG(param), what), param };
    return e;
}

/* The name becomes part of a JSON text and of a rule: letters that need no care there. */
static bool is_name(str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.' || c == '/' || c == ':'))
            return false;
    }
    return s.n > 0 && s.n <= TOOLS_NAME_MAX;
}

static const struct tool *find_tool(const struct chat *c, str name)
{
    for (size_t i = 0; i < c->n_tools; i++)
        if (str_eq(c->tools[i].name, name))
            return &c->tools[i];
    return NULL;
}

enum err tool_plan_make(struct arena *a, const struct tool_format *f, const struct chat *c, struct tool_plan *out, struct wire_error *why)
{
    struct tool_plan p = { .format = f, .chat = c, .choice = c->tool_choice, .many = f->many && c->parallel_tools != 0, .marker = -1 };
    if (c->n_tools > TOOLS_MAX)
        return wrong(a, why, ERR_RANGE, S("tools"), "at most 128");
    for (size_t i = 0; i < c->n_tools; i++) {
        str param = arena_printf(a, "tools[%zu].function.name", i);
        if (!is_name(c->tools[i].name))
            return wrong(a, why, ERR_SYNTAX, param, "must be 1 to 64 letters, digits and _ - . / :");
        if (find_tool(c, c->tools[i].name) != &c->tools[i])
            return wrong(a, why, ERR_SYNTAX, param, "another tool has this name");
    }
    if (p.choice == TOOLS_UNSET)
        p.choice = TOOLS_AUTO;
    if (p.choice == TOOLS_NAMED && !(p.only = find_tool(c, c->tool_name)))
        return wrong(a, why, ERR_SYNTAX, S("tool_choice"), "names a tool that is not among 'tools'");
    if (p.choice == TOOLS_REQUIRED && !c->n_tools)
        return wrong(a, why, ERR_SYNTAX, S("tool_choice"), "demands a call, and there are no 'tools'");
    if (!c->n_tools)
        p.choice = TOOLS_NONE;
    p.many &= p.choice != TOOLS_NAMED;
    *out = p;
    return ERR_OK;
}

bool tools_in_history(const struct chat *c)
{
    for (size_t i = 0; i < c->n_turns; i++)
        for (size_t k = 0; k < c->turns[i].n; k++)
            if (c->turns[i].parts[k].kind == PART_TOOL_CALL || c->turns[i].parts[k].kind == PART_TOOL_RESULT)
                return true;
    return false;
}

/* ---- writing parts ---- */

struct writer {
    struct arena *a;
    struct template_part *p;
    size_t n, cap;
    bool full;
};

static void put(struct writer *w, str text, bool own)
{
    struct template_part *grown = arena_more(w->a, w->p, w->n, &w->cap);
    w->full |= !grown;
    if (!grown)
        return;
    w->p = grown;
    if (text.n)
        w->p[w->n++] = (struct template_part){ text, own };
}

static void put_own(struct writer *w, const char *text) { put(w, str_of(text), true); }
static void put_client(struct writer *w, str text) { put(w, text, false); }

/* A text as the inside of a JSON string. */
static void put_escaped(struct writer *w, str text)
{
    struct buf b = { .max = 64u << 20 };
    enum err e = json_escape(&b, text);
    str copy = e ? STR_NONE : arena_str(w->a, buf_str(&b));
    w->full |= !copy.p;
    put_client(w, copy);
    buf_free(&b);
}

/* JSON as the models saw it in training. What is no JSON is taken as it is. */
static void put_json(struct writer *w, str text, int indent)
{
    struct buf b = { .max = 64u << 20 };
    json v;
    if (json_parse(w->a, text, &JSON_DEFAULT_LIMITS, &v, NULL) == ERR_OK && json_write_spaced(w->a, &b, v, indent) == ERR_OK) {
        text = arena_str(w->a, buf_str(&b));
        w->full |= !text.p;
    }
    put_client(w, text);
    buf_free(&b);
}

/* {"type": "function", "function": {…}} */
static void put_definition(struct writer *w, const struct tool *t, int indent)
{
    struct buf b = { .max = 64u << 20 };
    struct json_out o;
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_put_key(&o, S("type"));
    json_put_str(&o, S("function"));
    json_put_key(&o, S("function"));
    json_open(&o, '{');
    json_put_key(&o, S("name"));
    json_put_str(&o, t->name);
    if (t->description.n) {
        json_put_key(&o, S("description"));
        json_put_str(&o, t->description);
    }
    if (json_type(t->schema) == JSON_OBJECT) {
        json_put_key(&o, S("parameters"));
        json_put_raw(&o, json_span(t->schema));
    }
    json_close(&o, '}');
    json_close(&o, '}');
    str text = o.err ? STR_NONE : arena_str(w->a, buf_str(&b));
    w->full |= !text.p;
    if (text.p)
        put_json(w, text, indent);
    buf_free(&b);
}

static void put_definitions(struct writer *w, const struct chat *c, const char *between, int indent)
{
    for (size_t i = 0; i < c->n_tools; i++) {
        if (i)
            put_own(w, between);
        put_definition(w, &c->tools[i], indent);
    }
}

static void put_texts(struct writer *w, const struct turn *t)
{
    for (size_t i = 0; i < t->n; i++)
        if (t->parts[i].kind == PART_TEXT)
            put_client(w, t->parts[i].text);
}

static bool has(const struct turn *t, enum part_kind kind)
{
    for (size_t i = 0; i < t->n; i++)
        if (t->parts[i].kind == kind && (kind != PART_TEXT || t->parts[i].text.n))
            return true;
    return false;
}

/* {"name": "f", "arguments": {…}} */
static void put_call(struct writer *w, const struct tool_format *f, const struct part *p)
{
    put_own(w, "{\"name\": \"");
    put_escaped(w, p->name);
    put_own(w, "\", \"");
    put_own(w, f->arguments);
    put_own(w, "\": ");
    put_json(w, p->text.n ? p->text : S("{}"), 0);
    if (f->ids) {
        str id = p->id.n > 9 ? str_skip(p->id, p->id.n - 9) : p->id;
        put_own(w, ", \"id\": \"");
        put_escaped(w, id);
        put_own(w, "\"");
    }
    put_own(w, "}");
}

static void put_calls(struct writer *w, const struct tool_format *f, const struct turn *t, const char *space)
{
    bool first = true;
    for (size_t i = 0; i < t->n; i++) {
        if (t->parts[i].kind != PART_TOOL_CALL)
            continue;
        if (!first)
            put_own(w, f->next);
        if (first || !f->list) {
            put_own(w, f->marker);
            put_own(w, f->list ? space : "");
            put_own(w, f->open);
        }
        put_call(w, f, &t->parts[i]);
        if (!f->list)
            put_own(w, f->close);
        first = false;
    }
    if (f->list && !first)
        put_own(w, f->close);
}

/* ---- messages for libllama's templates ---- */

static void put_instructions(struct writer *w, const struct chat *c, bool after_text)
{
    put_own(w, after_text ? "\n\n" : "");
    put_own(w, "# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with function signatures within <tools></tools> XML tags:\n<tools>\n");
    put_definitions(w, c, "\n", 0);
    put_own(w, "\n</tools>\n\nFor each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:\n<tool_call>\n"
               "{\"name\": <function-name>, \"arguments\": <args-json-object>}\n</tool_call>");
}

static void put_llama3_definitions(struct writer *w, const struct chat *c)
{
    put_own(w, "Given the following functions, please respond with a JSON for a function call with its proper arguments that best answers the given prompt.\n\n"
               "Respond in the format {\"name\": function name, \"parameters\": dictionary of argument name and its value}.Do not use variables.\n\n");
    put_definitions(w, c, "\n\n", 4);
    put_own(w, "\n\n");
}

static bool is_hermes(const struct tool_format *f) { return strcmp(f->open, "\n") == 0; }

/* Results in a row are one message of the user for hermes, a message each for llama3. */
static void put_results(struct writer *w, const struct tool_format *f, const struct turn *t, bool first)
{
    for (size_t i = 0; i < t->n; i++) {
        if (t->parts[i].kind != PART_TOOL_RESULT)
            continue;
        if (is_hermes(f)) {
            put_own(w, first ? "<tool_response>\n" : "\n<tool_response>\n");
            put_client(w, t->parts[i].text);
            put_own(w, "\n</tool_response>");
        } else {
            put_own(w, "\"");
            put_escaped(w, t->parts[i].text);
            put_own(w, "\"");
        }
        first = false;
    }
}

static void put_assistant(struct writer *w, const struct tool_format *f, const struct turn *t)
{
    put_texts(w, t);
    if (has(t, PART_TEXT) && has(t, PART_TOOL_CALL))
        put_own(w, "\n");
    put_calls(w, f, t, "");
}

struct message_writer { struct template_message *list; size_t n; struct writer w; };

static void message_begin(struct message_writer *m, const char *role) { m->w = (struct writer){ .a = m->w.a, .full = m->w.full }; m->list[m->n] = (struct template_message){ .role = role }; }

static void message_end(struct message_writer *m)
{
    m->list[m->n].parts = m->w.p;
    m->list[m->n++].n = m->w.n;
}

static enum err messages(struct arena *a, const struct tool_plan *p, struct tool_prompt *out)
{
    const struct chat *c = p->chat;
    const struct tool_format *f = p->format;
    struct message_writer m = { .list = arena_new(a, struct template_message, c->n_turns + 1), .w = { .a = a } };
    bool offer = p->choice != TOOLS_NONE, told = !offer;
    if (!m.list)
        return ERR_LIMIT;
    if (is_hermes(f) && offer && (!c->n_turns || c->turns[0].role != ROLE_SYSTEM)) {
        message_begin(&m, "system");
        put_instructions(&m.w, c, false);
        message_end(&m);
        told = true;
    }
    for (size_t i = 0; i < c->n_turns; i++) {
        const struct turn *t = &c->turns[i];
        bool again = i > 0 && t->role == ROLE_TOOL && c->turns[i - 1].role == ROLE_TOOL && is_hermes(f);
        if (again)
            m.n--;                      /* it goes on */
        else
            message_begin(&m, t->role == ROLE_SYSTEM ? "system" : t->role == ROLE_ASSISTANT ? "assistant" : t->role == ROLE_TOOL && !is_hermes(f) ? "ipython" : "user");
        if (!told && t->role == ROLE_USER && !is_hermes(f)) {
            put_llama3_definitions(&m.w, c);
            told = true;
        }
        if (t->role == ROLE_ASSISTANT)
            put_assistant(&m.w, f, t);
        else if (t->role == ROLE_TOOL)
            put_results(&m.w, f, t, !again);
        else
            put_texts(&m.w, t);
        if (!told && is_hermes(f)) {
            put_instructions(&m.w, c, has(t, PART_TEXT));
            told = true;
        }
        message_end(&m);
    }
    *out = (struct tool_prompt){ .messages = m.list, .n = m.n };
    return m.w.full ? ERR_LIMIT : ERR_OK;
}

/* ---- mistral: the whole prompt ---- */

static void put_mistral_result(struct writer *w, const struct part *p, const char *space)
{
    put_own(w, "[TOOL_RESULTS]");
    put_own(w, space);
    put_own(w, "{\"content\": \"");
    put_escaped(w, p->text);
    put_own(w, "\", \"call_id\": \"");
    put_escaped(w, p->id.n > 9 ? str_skip(p->id, p->id.n - 9) : p->id);
    put_own(w, "\"}[/TOOL_RESULTS]");
}

static void put_mistral_user(struct writer *w, const struct tool_plan *p, size_t i, const char *space, bool system_inside, bool *system_told)
{
    const struct chat *c = p->chat;
    size_t last = c->n_turns;
    while (last > 0 && c->turns[last - 1].role != ROLE_USER)
        last--;
    if (p->choice != TOOLS_NONE && i + 1 == last) {
        put_own(w, "[AVAILABLE_TOOLS]");
        put_own(w, space);
        put_own(w, "[");
        put_definitions(w, c, ", ", 0);
        put_own(w, "][/AVAILABLE_TOOLS]");
    }
    put_own(w, "[INST]");
    put_own(w, space);
    for (size_t k = 0; k < c->n_turns && system_inside && !*system_told; k++)
        if (c->turns[k].role == ROLE_SYSTEM) {
            put_texts(w, &c->turns[k]);
            put_own(w, "\n\n");
        }
    *system_told = true;
    put_texts(w, &c->turns[i]);
    put_own(w, "[/INST]");
}

static enum err mistral(struct arena *a, const struct tool_plan *p, const char *spacing, struct tool_prompt *out)
{
    const struct chat *c = p->chat;
    const char *space = strstr(spacing, "tekken") ? "" : " ";
    bool own_system = strncmp(spacing, "mistral-v7", 10) == 0, told = own_system;
    struct writer w = { .a = a };
    for (size_t i = 0; i < c->n_turns; i++) {
        const struct turn *t = &c->turns[i];
        if (t->role == ROLE_SYSTEM && own_system) {
            put_own(&w, "[SYSTEM_PROMPT]");
            put_own(&w, space);
            put_texts(&w, t);
            put_own(&w, "[/SYSTEM_PROMPT]");
        } else if (t->role == ROLE_USER) {
            put_mistral_user(&w, p, i, space, !own_system, &told);
        } else if (t->role == ROLE_ASSISTANT) {
            if (has(t, PART_TEXT))
                put_own(&w, space);
            put_texts(&w, t);
            put_calls(&w, p->format, t, space);
            put_own(&w, "</s>");
        } else if (t->role == ROLE_TOOL) {
            for (size_t k = 0; k < t->n; k++)
                if (t->parts[k].kind == PART_TOOL_RESULT)
                    put_mistral_result(&w, &t->parts[k], space);
        }
    }
    *out = (struct tool_prompt){ .whole = w.p, .n_whole = w.n };
    return w.full ? ERR_LIMIT : ERR_OK;
}

/* A result must answer a call that the assistant made before it, as OpenAI demands. */
static enum err check_history(struct arena *a, const struct chat *c, struct wire_error *why)
{
    for (size_t i = 0; i < c->n_turns; i++)
        if (c->turns[i].role == ROLE_TOOL && (i == 0 || (c->turns[i - 1].role != ROLE_TOOL && !has(&c->turns[i - 1], PART_TOOL_CALL))))
            return wrong(a, why, ERR_SYNTAX, arena_printf(a, "messages[%zu].role", i), "a tool's message must follow an assistant's message with tool_calls");
    return ERR_OK;
}

enum err tools_prompt(struct arena *a, const struct tool_plan *p, const char *spacing, struct tool_prompt *out, struct wire_error *why)
{
    enum err e = check_history(a, p->chat, why);
    if (e)
        return e;
    *why = (struct wire_error){ ERR_LIMIT, STR_NONE, STR_NONE };
    return p->format->list ? mistral(a, p, spacing, out) : messages(a, p, out);
}
