/* wire/codec.h: what the codecs share; private to wire. Includes: core, wire. Pure. */
#ifndef HEARTH_WIRE_CODEC_H
#define HEARTH_WIRE_CODEC_H

#include "wire/call.h"
#include "wire/delta.h"

/* Fills *why ("param: what", param) and returns e. */
enum err codec_bad(struct arena *a, struct wire_error *why, enum err e, const char *param, const char *what);

/* The body as an object in c->root. ERR_SYNTAX when it is none, or when a key stands twice in one object, however deep: who guards or counts reads the
 * first of two, an upstream may read the last, so two readers could see two requests. */
enum err codec_root(struct arena *a, struct call *c, struct wire_error *why);

/* What every codec ends with: where an arena had no room for something, a part is lost, whatever was made of the rest. `b` may be NULL. */
static inline bool codec_lost(const struct arena *a, const struct arena *b) { return a->failed || (b && b->failed); }
static inline enum err codec_end(const struct arena *a, const struct arena *b, enum err e) { return codec_lost(a, b) ? ERR_LIMIT : e; }
static inline enum wire_event codec_end_event(const struct arena *a, const struct arena *b, enum wire_event k) { return k != WIRE_ERROR && codec_lost(a, b) ? WIRE_INVALID : k; }
enum err codec_end_why(const struct arena *a, enum err e, struct wire_error *why);

/* A field that may be absent or null. `low` and `high` are inclusive. */
struct codec_number { const char *name; size_t offset; bool integer; double low, high; };       /* offset: in struct params */
#define CODEC_AT(field) offsetof(struct params, field)
enum err codec_number(struct arena *a, const struct codec_number *d, json v, struct params *p, struct wire_error *why);
enum err codec_bool(struct arena *a, json v, const char *name, bool *out, struct wire_error *why);
/* A string or a list of strings into p->stop. */
enum err codec_stop(struct arena *a, json v, const char *name, struct params *p, struct wire_error *why);
static inline bool codec_absent(json v) { return json_type(v) == JSON_NONE || json_type(v) == JSON_NULL; }

/* The client's body as slices: `model` becomes model_id, fields whose name begins with "hearth" are left out and, with `usage`, a stream asks
 * for its token counts. Nothing else is touched. */
enum { CODEC_MAX_SLICES = 32 };
enum err codec_forward(struct arena *a, const struct call *c, str model_id, bool usage, str slices[CODEC_MAX_SLICES], size_t *n);

/* ---- reading an upstream ---- */
/* A string member, copied to `a` the first time it is said. */
void codec_note(struct arena *a, struct arena *scratch, json v, str *to);
void codec_tokens(json v, int64_t *to);                 /* a count that is not negative, else *to stays */
/* A text that may be empty where it is absent or null. */
str codec_text(struct arena *scratch, json v);

/* ---- writing ---- */
/* Moves what was written to `b` into the arena and frees `b`. When that failed, `otherwise`: an error must not fail. */
str codec_settle(struct arena *a, struct buf *b, enum err e, str otherwise);

#endif
