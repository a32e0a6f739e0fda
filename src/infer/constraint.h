/* infer/constraint.h: what a request says its answer must be, as a grammar. Includes: core, wire. Pure.
 *
 *   response_format   {"type":"json_schema","json_schema":{"schema":…}}, {"type":"json_object"} (llama-server: with "schema")   OpenAI
 *   structured_outputs   {"json" | "regex" | "choice" | "grammar" | "json_object"}                                              vLLM
 *   guided_json, guided_regex, guided_choice, guided_grammar                                                                    vLLM before 0.12
 *   json_schema, grammar                                                                                                        llama-server
 *
 * One of them at a time. A schema is honoured whether it is `strict` or not. Grammars of clients are GBNF (gbnf.h) with a rule `root`: they are
 * matched by our own code, which has a bound for everything that they could cost. */
#ifndef HEARTH_INFER_CONSTRAINT_H
#define HEARTH_INFER_CONSTRAINT_H

#include "infer/grammar.h"
#include "infer/schema.h"
#include "wire/call.h"

#define CONSTRAINT_MAX_CHOICES 10000

enum constraint_kind { CONSTRAINT_NONE, CONSTRAINT_OBJECT, CONSTRAINT_SCHEMA, CONSTRAINT_REGEX, CONSTRAINT_CHOICE, CONSTRAINT_GRAMMAR };
struct constraint {
    enum constraint_kind kind;
    json value;                         /* schema, pattern, list of choices, grammar */
    str param;                          /* "response_format": the field that it came from */
};

/* Finds it; types are checked. ERR_SYNTAX, ERR_UNSUPPORTED, ERR_RANGE: *why names the field. */
enum err constraint_find(struct arena *a, const struct call *c, struct constraint *out, struct wire_error *why);
/* Adds its rules (not for a GRAMMAR) and gives the name of the first. */
enum err constraint_write(struct arena *a, const struct constraint *k, struct rules *o, char name[SCHEMA_NAME], struct wire_error *why);

/* ---- grammars in use ---- */

/* Grammars that were compiled lately, by their text: the tries of a loop ask for the same again. The loop's thread alone comes here. */
#define GRAMMAR_CACHE 8
struct cached_grammar;
struct grammar_cache { struct cached_grammar *list[GRAMMAR_CACHE]; uint64_t uses; };
/* `own`: made here, so terminals may name tokens. To be given back when no run uses it any more. */
enum err grammar_cache_get(struct grammar_cache *cache, str text, bool own, struct cached_grammar **out, struct gbnf_error *why);
struct grammar *grammar_cache_grammar(struct cached_grammar *g);
void grammar_cache_put(struct cached_grammar *g);               /* NULL is fine */
void grammar_cache_free(struct grammar_cache *cache);           /* when all were given back */

#endif
