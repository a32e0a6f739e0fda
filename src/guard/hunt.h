/* guard/hunt.h: one search through one text, as its rules see it. Includes: guard/rules.h, guard/run.h, guard/words.h.
 *
 * A rule gets the position of a mark, looks at a bounded window around it, and adds what it found. */
#ifndef HEARTH_GUARD_HUNT_H
#define HEARTH_GUARD_HUNT_H

#include "guard/rules.h"
#include "guard/run.h"
#include "guard/words.h"

/* What rules look up, made once for a finder. NULL: no memory. */
struct forms;                       /* of ids.c: by how a number starts */
struct dials;                       /* of phone.c: by the first group, and by the code of a country */
struct prefixes;                    /* of secret.c: by the first two bytes */
struct forms *forms_new(struct arena *a);
struct dials *dials_new(struct arena *a);
struct prefixes *prefixes_new(struct arena *a);

struct hunt {
    const struct words *words;
    const struct forms *forms;
    const struct dials *dials;
    const struct prefixes *prefixes;
    scan_fn *scan;
    struct arena *a;
    const char *p;                  /* the text */
    size_t n;
    size_t done;                    /* marks before this position are part of something that a rule has read to its end */
    uint32_t given;                 /* what a table's column says of its cell, instead of words before it; 0: none */
    size_t context_of;              /* one more than the place that `context` was read for */
    uint32_t context;
    struct { size_t begin, end; uint32_t bits; } said[32];      /* words that contexts have read, by their ends; end 0: none */
    size_t dull;                    /* digits before this position are nothing by themselves; a token around them may be */
    struct guard_span *spans;       /* in the order they were found; may overlap */
    size_t n_spans, cap;
    enum err e;                     /* the first thing that went wrong */
};

void hunt_add(struct hunt *h, size_t begin, size_t end, enum rule rule, unsigned score);

static inline char hunt_at(const struct hunt *h, size_t i) { return i < h->n ? h->p[i] : '\0'; }
static inline str hunt_str(const struct hunt *h, size_t begin, size_t end) { return str_slice(h->p + begin, end - begin); }
/* Bytes of `classes` that follow `i`, or that stand before it: at most `most`. */
RUN_INLINE size_t hunt_run(const struct hunt *h, size_t i, unsigned classes, size_t most) { return i < h->n ? run_on(h->p, h->n, i, classes, most) : 0; }
RUN_INLINE size_t hunt_back(const struct hunt *h, size_t i, unsigned classes, size_t most) { return run_back(h->p, i, classes, most); }

/* What the words before `at`, on its line, say that it is: their bits. The nearest word decides between a number of a person's and another (W_OTHER, W_VERSION,
 * W_DATE): of what lies beyond such a word nothing is taken. At most CONTEXT_BYTES are read. */
uint32_t hunt_context(struct hunt *h, size_t at);
enum { CONTEXT_BYTES = 72, CONTEXT_WORDS = 8 };

/* Neither the byte before `begin` nor the one at `end` goes on with the value: no letter, digit or "_", and no ".", "-", "/" or ":" with one of these behind it. */
bool hunt_alone_before(const struct hunt *h, size_t begin);
bool hunt_alone_after(const struct hunt *h, size_t end);

/* A date with its day, month and year, whose first digit is at `at`: its end, or 0. *begin is before `at` where the month's name stands first. */
size_t hunt_date(const struct hunt *h, size_t at, size_t *begin);

/* The rules, by what they start from. True: something was found, and h->done is behind it. */
void rule_email(struct hunt *h, size_t at, size_t width);       /* '@', or the "%40" that starts at `at` */
void rule_digits(struct hunt *h, size_t at);                    /* the first digit of a run */
bool rule_ids(struct hunt *h, size_t at);                       /* a value may start at `at`, which is a digit or a capital */
bool rule_phone(struct hunt *h, size_t at);
bool rule_ipv4(struct hunt *h, size_t at);
bool rule_mac(struct hunt *h, size_t at);
bool rule_birth(struct hunt *h, size_t at);
bool rule_address(struct hunt *h, size_t at, size_t run);       /* `run` digits of a postal code */
void rule_colon(struct hunt *h, size_t at);                     /* ':': addresses of machines, URIs, fields */
bool rule_token(struct hunt *h, size_t at);                     /* the SCAN_LONG-th byte of a token */
void rule_capital(struct hunt *h, size_t at);                   /* the start of a word: capital, or not ASCII */
void rule_field(struct hunt *h, size_t at);                     /* ':' or '=' behind a name of a field */
bool rule_begin(struct hunt *h, size_t at);                     /* the B of a private key in PEM */
void rule_uri(struct hunt *h, size_t colon);                    /* the ':' of "://" */
void rule_name_of_mail(struct hunt *h, size_t open);            /* what follows a name before an address of mail: "<", "(", "at " */
bool rule_user(struct hunt *h, size_t colon);                   /* the ':' of "-u name:password" */
size_t secret_scheme(str v);                                     /* the length of "Bearer " and its like at the start of `v` */
bool rule_secret_said(struct hunt *h, size_t begin);            /* a password in a sentence */
bool rule_secret_value(struct hunt *h, uint32_t bits, size_t begin, size_t end, bool quoted);
bool rule_name_value(struct hunt *h, uint32_t bits, size_t begin, size_t end, bool quoted);
bool rule_address_value(struct hunt *h, size_t begin, size_t end, bool quoted);
/* The value [begin, end) of a field, a label or a column whose name has `bits`: adds what it is. `quoted`: nothing but a value can stand there. */
void rule_value(struct hunt *h, uint32_t bits, size_t begin, size_t end, bool quoted);

/* ---- before the marks, and after ---- */

void hunt_tables(struct hunt *h);                               /* the cells of tables, by the names of their columns */

/* Makes [*begin, *end), a word of a name, longer by the words of the name behind it, and before it unless it is a `known` name's. */
void hunt_name_around(const struct hunt *h, bool known, size_t *begin, size_t *end);

/* Every further place of a name that was found, of its parts, and of names in addresses of mail: of the spans from `first` on. */
void hunt_spread(struct hunt *h, size_t first);

#endif
