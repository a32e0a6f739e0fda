/* infer/tools.h: tools by the family of a model's chat template. Includes: core, wire. Pure.
 *
 * Models were trained to call tools in ways of their own, which their templates (Jinja) show. There is no Jinja here, so the ways are a table:
 *
 *   hermes    Qwen 2.5 and 3, Hermes   <tool_call>\n{"name": "f", "arguments": {…}}\n</tool_call>, definitions at the end of the system's message
 *   llama3    Llama 3.1 and later      {"name": "f", "parameters": {…}}, one call at a time, definitions before the first user message
 *   mistral   Mistral v3, Nemo         [TOOL_CALLS][{"name": "f", "arguments": {…}}], definitions before the last user message
 *   generic   all others               as hermes, told in words: a model that never saw tools may still follow them, and a forced call always works
 *
 * Found by the text of the model's own template, or named by the operator.
 *
 * What a client wrote (definitions, arguments, results) is told apart from what the family writes (own): only in the latter control tokens
 * are looked for. */
#ifndef HEARTH_INFER_TOOLS_H
#define HEARTH_INFER_TOOLS_H

#include "infer/schema.h"
#include "wire/chat.h"

#define TOOLS_MAX        128
#define TOOLS_MAX_CALLS  16             /* in one answer */
#define TOOLS_NAME_MAX   64

struct tool_format {
    const char *name;
    const char *signs[2], *not_signs[2];        /* stand in the template; do not */
    const char *marker;                 /* "" : a call begins with its brace */
    const char *tag;                    /* may stand before that brace; NULL: none does */
    const char *open, *close;           /* between the marker and the first call; after the last (list), or after each */
    const char *next;                   /* between calls */
    const char *arguments;              /* the key of them */
    const char *guards[6];              /* texts of clients that must not become the token of that name */
    bool list, many, ids;               /* calls are in one list; several at once; they may have an id of 9 letters */
};

const struct tool_format *tool_format_named(str name);          /* NULL: there is none */
const struct tool_format *tool_format_of(str template_text);    /* never NULL */
void tool_format_names(char *out, size_t cap);                  /* "hermes llama3 …", for messages */

/* ---- what a call asks for ---- */

struct tool_plan {
    const struct tool_format *format;
    const struct chat *chat;
    enum tool_choice choice;            /* NONE: no definitions, no calls; never UNSET */
    const struct tool *only;            /* NAMED */
    bool many;
    int32_t marker;                     /* the control token that the marker is; -1: it is text */
    bool strict_layout;                 /* by a grammar: what looks like a call is one */
};
/* Checks names and choice. ERR_SYNTAX, ERR_RANGE, ERR_NOTFOUND as 400: *why names the field. */
enum err tool_plan_make(struct arena *a, const struct tool_format *f, const struct chat *c, struct tool_plan *out, struct wire_error *why);
static inline bool tool_plan_is_on(const struct tool_plan *p) { return p->format && p->choice != TOOLS_NONE; }

/* Rules for the whole answer. `content`: the rule for an answer that is no call; NULL: any text. *name is empty where nothing need be bound: the
 * family's calls begin like a text, and none is demanded; with a strict tool, what begins with a brace is a call. A schema that cannot be honoured is refused when its tool is strict; else any object
 * may be its arguments. */
enum err tools_rules(struct arena *a, struct tool_plan *p, struct rules *o, const char *content, char name[SCHEMA_NAME], struct wire_error *why);

/* ---- the prompt ---- */

struct template_part { str text; bool own; };
struct template_message { const char *role; struct template_part *parts; size_t n; };
struct tool_prompt {
    struct template_message *messages;  /* to be put into the chat template … */
    size_t n;
    struct template_part *whole;        /* … or the whole prompt as the family writes it; NULL: it is messages */
    size_t n_whole;
};
/* A chat with tools, or with calls and results in its history. `spacing`: libllama's name of the template ("mistral-v3-tekken"). */
enum err tools_prompt(struct arena *a, const struct tool_plan *p, const char *spacing, struct tool_prompt *out, struct wire_error *why);
bool tools_in_history(const struct chat *c);

/* ---- the answer ---- */

/* Text goes in as it comes, cut anywhere; texts and calls come out. A call's name comes before its arguments, which come in pieces. What looks like
 * a call and is none is text.
 *
 * Small models forget their marker: an answer that begins with the JSON of a call, alone or in a fence (```json), is a call, too, when it is one of a
 * known tool that is not strict; so are others right behind it. */
struct tool_sink {
    void *ctx;
    enum err (*on_text)(void *ctx, str text);
    enum err (*on_call)(void *ctx, size_t index, str name);
    enum err (*on_arguments)(void *ctx, size_t index, str fragment);
};
enum tool_parse { PARSE_TEXT, PARSE_OPEN, PARSE_CALL, PARSE_AFTER };
struct tool_parser {
    const struct tool_plan *plan;
    struct tool_sink sink;
    enum tool_parse state;
    struct buf held;                    /* not handed on: the beginning of a call, or of a marker */
    size_t at;                          /* of held: looked at */
    size_t call_at, depth, sent;        /* CALL: its brace; its nesting so far; arguments handed on, up to here … */
    size_t args_end;                    /* … and their own last brace; 0: it has not come */
    bool in_string, escaped;
    bool named, said, loose;            /* this call's name was handed on; any text was; it has no marker, and no grammar vouches for it */
    size_t calls;                       /* handed on */
};
void tool_parser_init(struct tool_parser *t, const struct tool_plan *p, const struct tool_sink *sink);
void tool_parser_free(struct tool_parser *t);
enum err tool_parser_push(struct tool_parser *t, str text);     /* errors of the sink, and ERR_LIMIT, ERR_MEMORY */
enum err tool_parser_end(struct tool_parser *t);
bool tool_parser_cut(const struct tool_parser *t);              /* after the end: a call was begun and not finished */

#endif
