/* What an answer with tools may be, as rules. */
#include "infer/tools.h"

#include <stdio.h>

/* The marker: its token where it is one, else its text. */
static void put_marker(struct rules *o, const struct tool_plan *p)
{
    if (p->marker >= 0)
        rules_put(o, "<[%d]>", p->marker);
    else
        rules_put_text(o, str_of(p->format->marker));
}

/* The arguments of a tool. One that is not strict may have a schema that is only told to the model. */
static enum err write_arguments(struct arena *a, struct rules *o, const struct tool *t, size_t index, char name[SCHEMA_NAME], struct wire_error *why)
{
    struct schema_error wrong;
    struct rules before = *o;
    json type = json_member(t->schema, S("type"));
    if (json_type(t->schema) != JSON_OBJECT) {         /* no parameters */
        snprintf(name, SCHEMA_NAME, "r%u", o->n++);
        rules_put(o, "%s ::= \"{}\"\n", name);
        return ERR_OK;
    }
    snprintf(name, SCHEMA_NAME, "%s", rules_use(o, PRIMITIVE_OBJECT));
    if (json_type(type) != JSON_NONE && !json_is(type, S("object"))) {
        str param = arena_printf(a, "tools[%zu].function.parameters.type", index);
        *why = (struct wire_error){ ERR_SYNTAX, arena_printf(a, "%.*s: must be object", STR_ARG(param)), param };
        return ERR_SYNTAX;
    }
    bool names = json_count(json_member(t->schema, S("properties"))) > 0 || json_count(t->schema) > 1 || json_type(type) == JSON_NONE;
    if (!names)
        return ERR_OK;                  /* {"type":"object"} */
    enum err e = schema_write(a, o, t->schema, STR_NONE, name, &wrong);
    if (!e)
        return ERR_OK;
    if (t->strict == 1 || e == ERR_SYNTAX || e >= ERR_AUTH) {
        *why = (struct wire_error){ e == ERR_LIMIT ? ERR_UNSUPPORTED : e, wrong.message, wrong.param };
        return why->err;
    }
    o->b.n = before.b.n;                /* what was written so far is of no use */
    o->n = before.n;
    o->err = before.err;
    snprintf(name, SCHEMA_NAME, "%s", rules_use(o, PRIMITIVE_OBJECT));
    return ERR_OK;
}

/* One call: a choice of all tools that may be called. */
static enum err write_call(struct arena *a, const struct tool_plan *p, struct rules *o, const char *call, struct wire_error *why)
{
    const struct chat *c = p->chat;
    const char *between = "";
    char (*names)[SCHEMA_NAME] = arena_alloc(a, (c->n_tools + 1) * sizeof *names, 1);
    if (!names)
        return ERR_LIMIT;
    for (size_t i = 0; i < c->n_tools; i++) {
        enum err e = p->only && p->only != &c->tools[i] ? ERR_OK : write_arguments(a, o, &c->tools[i], i, names[i], why);
        if (e)
            return e;
    }
    rules_put(o, "%s ::= \"{\\\"name\\\": \\\"\" (", call);
    for (size_t i = 0; i < c->n_tools; i++) {
        if (p->only && p->only != &c->tools[i])
            continue;
        rules_put(o, "%s", between);
        rules_put_text(o, c->tools[i].name);
        rules_put(o, " \"\\\", \\\"%s\\\": \" %s", p->format->arguments, names[i]);
        between = " | ";
    }
    rules_put(o, ")%s \"}\"\n", p->format->ids ? " (\", \\\"id\\\": \\\"\" [a-zA-Z0-9]{9} \"\\\"\")?" : "");
    return o->err;
}

/* All calls of an answer, markers included. */
static void write_calls(const struct tool_plan *p, struct rules *o, const char *calls, const char *call)
{
    const struct tool_format *f = p->format;
    rules_put(o, "%so ::= ", calls);
    if (*f->marker)
        put_marker(o, p);
    rules_put(o, " ");
    if (f->list)
        rules_put(o, "\" \"? ");
    rules_put_text(o, str_of(f->open));
    rules_put(o, "\n%sx ::= ", calls);
    rules_put_text(o, str_of(f->next));
    rules_put(o, "\n%sc ::= ", calls);
    rules_put_text(o, str_of(f->close));
    if (f->list)
        rules_put(o, "\n%s ::= %so %s (%sx %s){0,%d} %sc\n", calls, calls, call, calls, call, p->many ? TOOLS_MAX_CALLS - 1 : 0, calls);
    else
        rules_put(o, "\n%s ::= %so %s %sc (%sx %so %s %sc){0,%d}\n", calls, calls, call, calls, calls, calls, call, calls, p->many ? TOOLS_MAX_CALLS - 1 : 0);
}

/* Any text in which the marker does not stand, and then, if it comes, calls without it: NAMEt0, NAMEt1, … know how much of the marker
 * may have come (Knuth, Morris, Pratt). `first`: the rule for what follows the marker. */
static void write_text(const struct tool_plan *p, struct rules *o, const char *name, const char *first)
{
    str m = str_of(p->format->marker);
    size_t fall[32] = { 0 };
    for (size_t i = 1, k = 0; i < m.n && i < 32; i++) {
        while (k && m.p[i] != m.p[k])
            k = fall[k - 1];
        k += m.p[i] == m.p[k];
        fall[i] = k;
    }
    for (size_t k = 0; k < m.n; k++) {
        bool used[128] = { false };
        rules_put(o, "%st%zu ::= \"\"", name, k);
        /* The letters of the marker that lead anywhere from here, the longest way first. */
        for (size_t at = k;; at = fall[at - 1]) {
            unsigned char c = (unsigned char)m.p[at];
            if (!used[c]) {
                rules_put(o, " | ");
                rules_put_text(o, str_slice(m.p + at, 1));
                if (at + 1 == m.n)
                    rules_put(o, " %s", first);
                else
                    rules_put(o, " %st%zu", name, at + 1);
                used[c] = true;
            }
            if (at == 0)
                break;
        }
        rules_put(o, " | [^");
        for (int c = 0; c < 128; c++)
            if (used[c])
                rules_put(o, "\\x%02X", c);
        rules_put(o, "] %st0\n", name);
    }
}

/* What follows a marker that was read already, letter by letter. */
static void write_after_marker(const struct tool_plan *p, struct rules *o, const char *calls, const char *call)
{
    const struct tool_format *f = p->format;
    rules_put(o, "%sf ::= ", calls);
    rules_put(o, f->list ? "\" \"? " : "");
    rules_put_text(o, str_of(f->open));
    if (f->list)
        rules_put(o, " %s (%sx %s){0,%d} %sc\n", call, calls, call, p->many ? TOOLS_MAX_CALLS - 1 : 0, calls);
    else
        rules_put(o, " %s %sc (%sx %so %s %sc){0,%d}\n", call, calls, calls, calls, call, calls, p->many ? TOOLS_MAX_CALLS - 1 : 0);
}

static bool any_strict(const struct chat *c)
{
    bool any = false;
    for (size_t i = 0; i < c->n_tools; i++)
        any |= c->tools[i].strict == 1;
    return any;
}

enum err tools_rules(struct arena *a, struct tool_plan *p, struct rules *o, const char *content, char name[SCHEMA_NAME], struct wire_error *why)
{
    char call[SCHEMA_NAME], calls[SCHEMA_NAME];
    bool forced = p->choice == TOOLS_REQUIRED || p->choice == TOOLS_NAMED;
    *why = (struct wire_error){ ERR_LIMIT, S("the schemas of the tools are too large"), S("tools") };
    name[0] = 0;
    if (!forced && !content && !*p->format->marker && !any_strict(p->chat))
        return ERR_OK;
    snprintf(call, sizeof call, "r%u", o->n++);
    snprintf(calls, sizeof calls, "r%u", o->n++);
    snprintf(name, SCHEMA_NAME, "r%u", o->n++);
    enum err e = write_call(a, p, o, call, why);
    if (e)
        return e;
    write_calls(p, o, calls, call);
    if (forced) {
        rules_put(o, "%s ::= %s\n", name, calls);
    } else if (content) {
        rules_put(o, "%s ::= %s | %s\n", name, content, calls);
    } else if (!*p->format->marker) {
        rules_put(o, "%s ::= %s | ([^{\\x20\\t\\r\\n] .*)?\n", name, calls);
    } else if (p->marker >= 0) {
        rules_put(o, "%s ::= .* %s?\n", name, calls);
    } else {
        char first[SCHEMA_NAME + 1];
        snprintf(first, sizeof first, "%sf", calls);
        write_after_marker(p, o, calls, call);
        write_text(p, o, name, first);
        rules_put(o, "%s ::= %st0\n", name, name);
    }
    p->strict_layout = forced || !content || *p->format->marker;
    return o->err;
}
