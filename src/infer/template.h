/* infer/template.h: from messages to tokens. Includes: core, wire, llama.
 *
 * A chat template belongs to the model; we use libllama's own list of them (no Jinja), by the model's text or by a family
 * the operator named. A template that libllama does not know is refused by name, never replaced by another one.
 *
 * Client text can never become a control token. The template is rendered with a random mark in place of each text; cut at
 * the marks, it falls into pieces of template, in which control tokens are looked for, and texts of the client, in which
 * they are not. Tokens by which a family marks tools (<tool_call>) are control tokens in this sense, too, though some vocabularies count them
 * among the words. Between two control tokens, template and text are tokenized as one run, as the model saw them in
 * training: for texts without control tokens the result equals that of tokenizing the whole. */
#ifndef HEARTH_INFER_TEMPLATE_H
#define HEARTH_INFER_TEMPLATE_H

#include "core/hash.h"
#include "core/rand.h"
#include "infer/tools.h"

struct llama_model;
struct llama_vocab;

struct chat_template {
    const char *text;                   /* what libllama gets; NULL: the model has none, so it cannot chat */
    char family[32];                    /* libllama's name of it: "chatml" */
    struct digest digest;               /* SHA-256 of `text` */
    const struct tool_format *tools;    /* how its model calls tools */
    unsigned guarded;                   /* bits of tools->guards: those that are a token */
    int32_t marker;                     /* the control token that is its marker, or tag; -1: that is text */
};

#define TEMPLATE_WHY 400
/* `family`: NULL or a name of libllama's list. ERR_NOTFOUND with a sentence in `why`: not known. The text lives with the model. */
enum err template_find(const struct llama_model *model, const char *family, struct chat_template *out, char why[TEMPLATE_WHY]);

/* `name`: NULL (by the model's own template) or one of the table in tools.h. ERR_NOTFOUND with a sentence in `why`. */
enum err template_find_tools(const struct llama_model *model, const char *name, struct chat_template *out, char why[TEMPLATE_WHY]);

/* head: of a chat, the leading tokens that the template and the system's messages before all others gave. */
struct token_list { int32_t *p; size_t n, head; };

/* What a prompt may cost: a text that cannot fit is refused before it is tokenized. */
struct prompt_limits {
    size_t context;                     /* tokens, the first generated one included */
    size_t longest_token;               /* bytes of the vocabulary's longest token */
};
size_t template_longest_token(const struct llama_vocab *vocab);

/* ERR_CONTEXT (with OpenAI's sentence), ERR_UNSUPPORTED (no template, or a role it does not know), ERR_FORBIDDEN (a client's text
 * would have become a control token after all), ERR_LIMIT. The tokens live in `a`. */
enum err template_chat(struct arena *a, const struct chat_template *t, const struct llama_vocab *vocab, const struct prompt_limits *lim,
                       struct rng *r, const struct call *c, struct token_list *out, struct wire_error *why);
/* The same from messages of several parts each, or, for a template that libllama does not write, from the parts of the whole prompt. */
enum err template_messages(struct arena *a, const struct chat_template *t, const struct llama_vocab *vocab, const struct prompt_limits *lim,
                           struct rng *r, const struct template_message *messages, size_t n, struct token_list *out, struct wire_error *why);
enum err template_whole(struct arena *a, const struct chat_template *t, const struct llama_vocab *vocab, const struct prompt_limits *lim,
                        const struct template_part *parts, size_t n, struct token_list *out, struct wire_error *why);
enum err template_text(struct arena *a, const struct llama_vocab *vocab, const struct prompt_limits *lim, bool start, str text,
                       struct token_list *out, struct wire_error *why);

/* ---- the pure part, for its test ---- */

/* Random letters with a vertical tab on both sides, which shows whether the template trims the text. */
#define TEMPLATE_MARK 34
struct template_mark { char text[TEMPLATE_MARK + 1]; };
struct template_piece {
    str before;                         /* template text before this client text */
    bool trim_start, trim_end;          /* the template takes white space off it */
};
/* Cuts `rendered` at the marks: n pieces and what stands after the last. ERR_UNSUPPORTED: a mark is missing, doubled or out of order. */
enum err template_split(str rendered, const struct template_mark *marks, size_t n, struct template_piece *out, str *after);

#endif
