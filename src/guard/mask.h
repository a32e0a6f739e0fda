/* guard/mask.h: a request's body searched once, and masked for each attempt that leaves. Includes: core, guard.
 *
 *   guard_scan(a, &search, body, NULL, &verdict)                        GUARD, once
 *   guard_count(&verdict, &policy, question.found)                      per attempt: what guard_decide() wants to know
 *   guard_mask(a, vault, &policy, &job, &verdict, &set, &out, &report)  per attempt that may leave masked
 *   restorer_init(&r, &set)                                             STREAM (guard/restore.h)
 *
 * All texts of the body go to the finder as one document, so that what is known from one message is found in the next; a text of the caller's own data
 * stands there as  "key": "text"  so that its name tells what it is. A text that has escapes of URLs or JSON left in it (%40, \u0040) is shown a second
 * time with them decoded.
 *
 * What a caller typed that would be restored as if masking had put it there, is masked itself, as CUSTOM, with what was typed for its value: the reply
 * gives it back as it was typed. So is a value that happens to equal a surrogate.
 *
 * A value that is to be restored never holds a control character, a quote or a backslash: a span with one is masked in parts around it. With that any
 * string of a reply, and JSON in a string, can be restored without knowing how often it is escaped. A value above PLACEHOLDER_VALUE_MAX is masked and not restored.
 *
 * Every error means that the body must not leave. */
#ifndef HEARTH_GUARD_MASK_H
#define HEARTH_GUARD_MASK_H

#include "guard/policy.h"
#include "guard/vault.h"
#include "guard/walk.h"

/* The finder, or whatever stands for it; guard_find()'s contract. */
struct guard_search {
    enum err (*find)(void *ctx, struct arena *a, str text, struct guard_span **out, size_t *n);
    void *ctx;
    struct vault *vault;                /* whose placeholders are no finding when they come back in a later turn, as those of secrets do; NULL: all are looked at */
    str realm;
    const struct guard_finder *names;   /* of the types that spans may have besides those that there always are; NULL: none */
};

struct guard_hit {
    size_t text;                        /* index in walk.texts */
    struct guard_span span;             /* in that text */
};

struct guard_verdict {
    struct walk walk;
    struct guard_hit *hits;             /* in order, not overlapping */
    size_t n, cap;
};

/* The verdict lives in `a` and points into `body`. ERR_SYNTAX, ERR_LIMIT, ERR_MEMORY and whatever `search` returns: nothing is known about the body. */
enum err guard_scan(struct arena *a, const struct guard_search *search, str body, const struct walk_options *o, struct guard_verdict *out);
/* What a local model proposes besides (GUARD_ASK_MODEL): each place of each word, compared without ASCII case between the borders of words, becomes a
 * hit of a score of 100 and rule 0, unless it is one already. Words of fewer than 2 or more than 60 bytes are passed over: nothing can be taken away by this. */
enum err guard_add(struct arena *a, struct guard_verdict *v, const struct guard_word *words, size_t n);
/* What a policy would mask, by type. */
void guard_count(const struct guard_verdict *v, const struct guard_policy *p, size_t found[GUARD_N_TYPES]);

struct mask_job {
    str realm;                          /* whose vault: a tenant; empty for all */
    int64_t at_us;
    const struct guard_finder *names;   /* as guard_search.names */
};

/* For the audit: what was put, never what for. */
struct mask_note {
    enum guard_type type;
    uint16_t rule;
    uint8_t score;
    str token;
};
struct mask_report {
    struct mask_note *notes;            /* one for each place, in order; in the arena */
    size_t n;
    size_t typed;                       /* places that a caller typed */
};

/* Appends the masked body to `out`, and adds to `set` what may be restored; it is ready then, and lives in `a`. What vault_recall() gave may be in it
 * before. The verdict may be masked again, for another attempt. `out` and `report` are of use only when ERR_OK came. ERR_PRIVATE: a place cannot be masked. */
enum err guard_mask(struct arena *a, struct vault *vault, const struct guard_policy *p, const struct mask_job *job, struct guard_verdict *v, struct restore_set *set, struct buf *out,
                    struct mask_report *report);

#endif
