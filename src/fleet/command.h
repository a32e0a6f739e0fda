/* fleet/command.h: the command line of a managed server, without a shell. Includes: core. Pure.
 *
 * Words are separated by spaces; '…' and "…" keep spaces, and outside of '…' a backslash keeps the byte after it. Nothing else is special: no
 * variables, no globs, no pipes. In a word these placeholders are replaced when the server is started:
 *
 *   {port}     a free port of 127.0.0.1, chosen anew for every start          {model}          what is to be loaded: the model's file, else its id
 *   {host}     127.0.0.1                                                      {name}           the name under which hearth asks for it
 *   {threads}  inference threads: as written, else its share of the cores     {context}        tokens of one sequence, as written
 *   {slots}    sequences at once, as written                                  {total_context}  both multiplied
 *
 * Words between a word `[` and a word `]` are left out when a placeholder among them has no value: `[ --ctx-size {context} ]`. Other braces are
 * kept as they are, so that JSON can stand in an argument. */
#ifndef HEARTH_FLEET_COMMAND_H
#define HEARTH_FLEET_COMMAND_H

#include "core/arena.h"
#include "core/err.h"

#define COMMAND_WORDS 128

enum { COMMAND_PORT, COMMAND_HOST, COMMAND_MODEL, COMMAND_NAME, COMMAND_THREADS, COMMAND_CONTEXT, COMMAND_SLOTS, COMMAND_TOTAL_CONTEXT, COMMAND_PLACES };
struct command_values { str of[COMMAND_PLACES]; };      /* empty: no value */

/* ERR_SYNTAX with a sentence in *why (static): quotes that do not end, a bracket without its other half, an unknown placeholder, too many words, none.
 * A bracket in quotes is an argument like any other. */
enum err command_split(struct arena *a, str line, str **words, size_t *n, const char **why);

/* Does {port}, {model} … stand in one of them? */
bool command_has(const str *words, size_t n, int place);

/* One word with its placeholders replaced; the result ends with a NUL that is not counted. NULL .p: no memory. */
str command_word(struct arena *a, str word, const struct command_values *v);
/* All of them, as execvp() takes them: NULL-terminated, groups resolved. ERR_LIMIT. */
enum err command_expand(struct arena *a, const str *words, size_t n, const struct command_values *v, char ***argv, size_t *n_argv);

#endif
