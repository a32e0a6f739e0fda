/* prompt/prompt.h: versioned prompts: named, immutable templates with labels that move. Includes: core, wire. Pure.
 *
 * The registry is an append-only text of JSON lines, so that its history is its content and a team can keep it in git:
 *
 *   {"op":"add","name":"docstring","version":3,"hash":"sha256:…","at":"…","message":"ask for types","text":"[system]\n…"}
 *   {"op":"label","name":"docstring","label":"prod","version":3,"at":"…","message":"measured better"}
 *
 * Versions of a name count from 1 without a gap; `hash` is the SHA-256 of the text, checked when it is read; the same text is not added
 * twice in a row. A template is text with {{variable}} in it. Lines "[system]", "[user]" and "[assistant]" begin a message of that role;
 * without one it is a message of the user. Values are put in as they are and not looked at again, so no value can become a variable. */
#ifndef HEARTH_PROMPT_PROMPT_H
#define HEARTH_PROMPT_PROMPT_H

#include "core/buf.h"
#include "core/hash.h"
#include "wire/call.h"

#define PROMPT_TEXT_MAX (1u << 20)
#define PROMPT_MAX      100000          /* lines of a registry */

struct prompt {                         /* one version */
    str name, text, message, at;
    int64_t version;
    struct digest hash;
};
struct prompt_label { str name, label; int64_t version; str message, at; };     /* as it stands: the last one said */

struct prompt_book {
    struct prompt *list;                /* in the order in which they were added */
    size_t n;
    struct prompt_label *labels;
    size_t n_labels;
};

/* ERR_SYNTAX with the line and a sentence in `why`; ERR_LIMIT. The strings live in `a`. */
enum err prompt_book_read(struct arena *a, str text, struct prompt_book *out, char why[200]);
/* "docstring", "docstring@latest" (both the newest), "docstring@3", "docstring@prod". NULL: there is none. */
const struct prompt *prompt_find(const struct prompt_book *b, str reference);
bool prompt_name_ok(str name);                          /* letters, digits and . _ / - */

/* Lines to be appended. */
enum err prompt_write_add(struct buf *out, const struct prompt_book *b, str name, str text, str message, str at);
enum err prompt_write_label(struct buf *out, str name, str label, int64_t version, str message, str at);

/* The messages of a prompt, each {"role":…,"content":…}, with a comma between. `variables`: a JSON object, or JSON_ABSENT. System messages are
 * left out and given as one text where `system` is not NULL. ERR_SYNTAX: *why names the variable that is missing or unknown. */
enum err prompt_render(struct arena *a, const struct prompt *p, json variables, struct buf *out, str *system, struct wire_error *why);
/* The names of its variables, each once, in order. */
enum err prompt_variables(struct arena *a, const struct prompt *p, str **names, size_t *n);

#endif
