/* guard/placeholder.h: the texts that stand for values: placeholders and surrogates. Includes: core. Pure.
 *
 * A placeholder is a stem in brackets, "[EMAIL_k7q2m]": the type, and the first characters of a keyed HMAC-SHA-256 of the value in a normal form, in
 * base32 (RFC 4648, lower case). The same value has the same placeholder over turns and restarts as long as the key is the same, and nobody without the
 * key can try values out. Values that differ in spelling only (case, spaces, separators) share a stem: the first keeps it, another gets a tail from
 * its own spelling, "[EMAIL_k7q2m-f3]", so that each is put back as it was written. `round` counts collisions: 0, and one more for each stem that was
 * found taken by another value; the tag gets longer with it.
 *
 * A surrogate has the form of its value, for code and data whose readers check forms: an address of mail at masked.invalid (RFC 2606), IPv4 out of
 * 198.18.0.0/15 (RFC 2544), IPv6 out of 2001:db8::/32 (RFC 3849), a MAC address that is locally administered, a card number that begins with 9 and has
 * its check digit (ISO/IEC 7812 leaves 9 to national bodies), an SSN in the area 9xx, which is never given out, a phone number with the separators of
 * the original, under the unassigned country code 999 where it was international. A national number may be somebody's. Surrogates have no brackets, so
 * they stand only where both of their ends are clear (placeholder_fits); elsewhere a placeholder does.
 *
 * Who decides which text is free is the vault (guard/vault.h). */
#ifndef HEARTH_GUARD_PLACEHOLDER_H
#define HEARTH_GUARD_PLACEHOLDER_H

#include "core/hash.h"
#include "guard/find.h"

enum {
    PLACEHOLDER_ROUNDS = 4,             /* tags of 5, 8, 13 and 26 characters: the last has 130 bits */
    PLACEHOLDER_MAX = 72,               /* bytes of a stem, or of a surrogate */
    PLACEHOLDER_VALUE_MAX = 4096        /* bytes of a value; a longer one is masked, and not restorable */
};

/* The normal form by which spellings of one value are known, in `a`; .p is NULL when there was no room. */
str placeholder_normal(struct arena *a, enum guard_type t, str value);

/* The stem, "EMAIL_k7q2m", into `out`; its length. `key` is the vault's; `name` the type's. round < PLACEHOLDER_ROUNDS. */
size_t placeholder_stem(const struct digest *key, str name, str normal, unsigned round, char out[PLACEHOLDER_MAX]);
/* The stem with the tail of a spelling, "EMAIL_k7q2m-f3"; `stem` may be `out`. */
size_t placeholder_tail(const struct digest *key, str name, str stem, str value, unsigned round, char out[PLACEHOLDER_MAX]);

bool placeholder_has_surrogate(enum guard_type t);
/* false: this type, or a value of this form, has none. */
bool placeholder_surrogate(const struct digest *key, enum guard_type t, str normal, str value, unsigned round, char out[PLACEHOLDER_MAX], size_t *n);
/* For a number of JSON, which must stay one: as many digits, the first a 9. Only for texts of 7 to 32 digits. */
bool placeholder_number(const struct digest *key, enum guard_type t, str value, unsigned round, char out[PLACEHOLDER_MAX], size_t *n);

/* May a surrogate stand between the two? Only bytes that no surrogate could go on with: `before` and `after` are the text around it. */
bool placeholder_fits(str before, str after);

/* Is it a stem, in any case: a type that there is (guard_type_name()), and a tag of a length that is made here? Whether anything is known by it is another question. */
bool placeholder_is_stem(const struct guard_finder *f, str s);
/* The same of any type that an owner may have named, also long ago: for who asks the vault then. */
bool placeholder_may_be_stem(str s);

#endif
