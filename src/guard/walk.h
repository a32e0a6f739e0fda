/* guard/walk.h: every string of a request's body, whatever API it is of, and the body again with some of them replaced. Includes: core, guard. Pure.
 *
 * One walker serves OpenAI's chat, completions, embeddings and responses, Anthropic's messages and Ollama's: it does not ask where texts are expected but
 * takes every string that is not on the short list of what is known to be none: ids that a provider made ("call_…", "toolu_…"), the model's name, and
 * the words of the APIs ("role": "user"), each recognised by its field and its form together. Strings are decoded (RFC 8259 escapes). Names of members are
 * texts, too, but for those of letters and underscores in the API's own objects and in schemas. A string that is a whole JSON object or array, as the
 * arguments of tools are, is read as one, and so on, up to WALK_NESTED levels. Integers of seven digits and more are texts, because phone and card
 * numbers are written so; they are replaced by integers.
 *
 * What cannot be looked into makes the body `unsure`: images, audio, video, files and documents, data: URLs and other long base64, prompts as arrays of
 * tokens, JSON nested deeper than is read. Policy says what follows (guard/policy.h); its strings are given all the same.
 *
 * `user`, `metadata`, `safety_identifier` and `prompt_cache_key` say who calls; they are left out of the body, unless `keep_user`.
 *
 * Gate walks once, at GUARD, by way of guard_scan() (guard/mask.h), the body as it goes to the upstream's dialect; texts and spans live in `a` and point into the
 * body where nothing had to be decoded. */
#ifndef HEARTH_GUARD_WALK_H
#define HEARTH_GUARD_WALK_H

#include "core/json.h"

enum { WALK_NESTED = 6, WALK_DROPPED_MAX = 8 };

struct walk_text {
    str text;                           /* decoded; of a number its digits */
    str key;                            /* data only: the member that it is the value of, or its nearest above; else empty */
    bool is_key, is_number;
    str to;                             /* for walk_write(): what stands in its place, not escaped; .p NULL: it stays as it is */
};

struct walk_options {
    struct json_limits limits;          /* all zero: JSON_DEFAULT_LIMITS */
    bool keep_user;
};

struct walk_doc;
struct walk {
    struct walk_text *texts;            /* in the order of the body */
    size_t n, cap;
    bool unsure;
    str unsure_of;                      /* the first reason, for people: "image_url", "base64" */
    str dropped[WALK_DROPPED_MAX];      /* members that are left out */
    size_t n_dropped;
    struct walk_doc *doc;               /* walk.c's own */
};

/* ERR_SYNTAX: no JSON object; ERR_LIMIT: a limit, or `a` is full. Then nothing is known about the body. `o` may be NULL. */
enum err walk_body(struct arena *a, str body, const struct walk_options *o, struct walk *out);
/* The body with every `to` in place; what has none, and all that is not a string, is the original's bytes. Appended to `out`. */
enum err walk_write(const struct walk *w, struct buf *out);
/* How one string of a reply is read back, for tests and for files: the text itself, as walk_body() takes a body. Arrays are taken, too. */
enum err walk_value(struct arena *a, str json_text, struct walk *out);

#endif
