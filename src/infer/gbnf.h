/* infer/gbnf.h: a grammar's text becomes an automaton over bytes. Includes: core. Pure.
 *
 * GBNF is llama.cpp's notation (its grammars/README.md): rules `name ::= alternatives`, literals "…", classes [a-z] and [^…], `.`,
 * groups, * + ? {m} {m,} {m,n}, comments from # to the end of the line. Escapes: \x41 \u0041 \U00000041 \t \r \n \\ \" \[ \] \-.
 * Beyond it, `_` may stand in names and an alternative may begin a line. A terminal <[12]> is the token with that number, for tokens that are no
 * text; it is taken only in grammars of our own, and becomes GBNF_TOKEN bytes that are in no UTF-8.
 *
 * The text may come from a client: its size, its nesting and the automaton are bounded, and what could never end is refused here:
 *   left recursion      `a ::= a "x"`: matching would push for ever
 *   nothing finite      `root ::= "x" root`: no text would ever be complete
 * Everything else is matched by grammar.h within a budget.
 *
 * The automaton is a set of nodes. A rule begins at its start node and ends at node 0; a CALL remembers where to go on, a TAIL does not
 * need to, so recursion at the end of a rule takes no memory. Characters become ranges of bytes of their UTF-8. */
#ifndef HEARTH_INFER_GBNF_H
#define HEARTH_INFER_GBNF_H

#include "core/arena.h"
#include "core/err.h"

#define GBNF_MAX_TEXT  (4u << 20)
#define GBNF_MAX_NODES (1u << 18)       /* 3 MB of them */
#define GBNF_MAX_DEPTH 100              /* calls within calls while matching; nested values of JSON take one each */
#define GBNF_NEVER     255              /* a height: the end cannot be reached */

enum gbnf_kind { GBNF_END, GBNF_BYTE, GBNF_SPLIT, GBNF_CALL, GBNF_TAIL };
struct gbnf_node {
    uint8_t kind, lo, hi;               /* BYTE: one from lo to hi, then a */
    uint8_t height;                     /* least nesting of calls that leads from here to the end of the rule */
    uint32_t a, b;                      /* SPLIT: a or b. CALL: rule a, then b. TAIL: rule a */
};

struct gbnf {
    struct gbnf_node *nodes;
    uint32_t n_nodes, n_rules;
    uint32_t *starts;                   /* of rules; rule 0 is the root */
    uint8_t class_of[256];              /* bytes that no node tells apart are of one class */
    uint8_t member[256];                /* a byte of each class */
    uint16_t n_classes;
};

#define GBNF_WHY 160
struct gbnf_error { size_t at; char what[GBNF_WHY]; };  /* at: byte of the text */

#define GBNF_TOKEN 4
void gbnf_token(uint32_t token, char to[GBNF_TOKEN]);

/* The rule to begin with is `root`. `tokens`: terminals may name them. The automaton lives in `a`. ERR_SYNTAX: *why says what; ERR_LIMIT: too
 * large, *why too. */
enum err gbnf_compile(struct arena *a, str text, bool tokens, struct gbnf *out, struct gbnf_error *why);

/* gbnf_check.c: heights and classes; refuses what could never end. `name_of` gives a rule's name for the message. */
enum err gbnf_check(struct arena *tmp, struct gbnf *g, const str *names, struct gbnf_error *why);

#endif
