/* Objects and arrays. A rule for each property says: this one and then the rest, or only the rest. There are two for each: before the first
 * member, and after one, where a comma is due. */
#include "infer/schema_state.h"

#include <stdio.h>
#include <stdlib.h>

struct property {
    str name;                           /* without escapes */
    json key;                           /* as it stands in the schema; absent: only `required` names it */
    bool required;
};
struct object {
    struct property *list;
    uint32_t n;
    size_t cap;
    str *required;                      /* sorted */
    size_t n_required;
    bool open;                          /* members that are not named may follow */
    uint32_t min, max;                  /* members that are not named */
    char extra[SCHEMA_NAME];            /* rule of their values */
};

static int by_text(const void *x, const void *y) { return str_cmp(*(const str *)x, *(const str *)y); }
static int by_name(const void *x, const void *y) { return str_cmp(((const struct property *)x)->name, ((const struct property *)y)->name); }

/* ---- which members ---- */

static enum err read_required(struct converter *c, const struct view *v, struct object *ob)
{
    size_t n = 0;
    for (uint32_t i = 0; i < v->n; i++) {
        json list = schema_member(c, v->p[i].s, "required");
        if (json_type(list) == JSON_TRUE || json_type(list) == JSON_FALSE)      /* draft 3, as some still write it */
            return schema_fail(c, ERR_SYNTAX, v->p[i].s, "required", "must be a list of names");
        n += json_count(list);
    }
    ob->required = arena_new(c->a, str, n + 1);
    if (!ob->required)
        return schema_full(c);
    for (uint32_t i = 0; i < v->n; i++) {
        json list = schema_member(c, v->p[i].s, "required");
        if (json_type(list) != JSON_NONE && json_type(list) != JSON_ARRAY)
            return schema_fail(c, ERR_SYNTAX, v->p[i].s, "required", "must be a list of names");
        for (json t = json_first(list); json_type(t) != JSON_NONE; t = json_next(t))
            if (json_text(c->a, t, &ob->required[ob->n_required++]))
                return schema_fail(c, ERR_SYNTAX, v->p[i].s, "required", "must be a list of names");
    }
    qsort(ob->required, ob->n_required, sizeof *ob->required, by_text);
    return schema_spend(c, n * 4);
}

static bool is_required(const struct object *ob, str name) { return ob->n_required && bsearch(&name, ob->required, ob->n_required, sizeof name, by_text); }

static enum err add_property(struct converter *c, struct object *ob, str name, json key)
{
    struct property *grown = arena_more(c->a, ob->list, ob->n, &ob->cap);
    if (!grown)
        return schema_full(c);
    ob->list = grown;
    ob->list[ob->n++] = (struct property){ name, key, is_required(ob, name) };
    return ERR_OK;
}

/* Names that stand in several parts, or twice among the required ones, stay where they came first. */
static enum err drop_doubles(struct converter *c, struct object *ob)
{
    struct property *sorted = arena_new(c->a, struct property, ob->n + 1);
    bool doubled = false;
    if (!sorted)
        return schema_full(c);
    if (ob->n)
        memcpy(sorted, ob->list, ob->n * sizeof *sorted);
    qsort(sorted, ob->n, sizeof *sorted, by_name);
    for (uint32_t i = 1; i < ob->n; i++)
        doubled |= str_eq(sorted[i].name, sorted[i - 1].name);
    for (uint32_t i = 0, kept = 0, n = ob->n; doubled && i < n; i++) {
        bool seen = false;
        for (uint32_t k = 0; k < kept && !seen; k++)
            seen = str_eq(ob->list[k].name, ob->list[i].name);
        if (!seen)
            ob->list[kept++] = ob->list[i];
        ob->n = kept;
        if (schema_spend(c, kept))
            return ERR_LIMIT;
    }
    return ERR_OK;
}

static enum err read_properties(struct converter *c, const struct view *v, struct object *ob)
{
    str twice, name;
    enum err e = read_required(c, v, ob);
    bool said = false;
    for (uint32_t i = 0; i < v->n && !e; i++) {
        json s = v->p[i].s, properties = schema_member(c, s, "properties");
        said |= json_type(properties) != JSON_NONE;
        if (json_type(properties) != JSON_NONE && json_type(properties) != JSON_OBJECT)
            return schema_fail(c, ERR_SYNTAX, s, "properties", "must be an object of schemas");
        if (json_has_duplicate(properties, &twice))
            return schema_fail(c, ERR_SYNTAX, s, "properties", "a name stands twice");
        for (json p = json_first(properties); json_type(p) != JSON_NONE && !e; p = json_next(p)) {
            e = json_text(c->a, json_key(p), &name) ? schema_full(c) : add_property(c, ob, name, p);
            e = e ? e : schema_spend(c, 4);
        }
    }
    for (size_t i = 0; i < ob->n_required && !e; i++)
        e = add_property(c, ob, ob->required[i], JSON_ABSENT);
    e = e ? e : drop_doubles(c, ob);
    ob->open = !said;
    return e;
}

/* additionalProperties of a part for a name that it does not have. Absent: whatever. */
static json additional(struct converter *c, const struct part *p) { return schema_member(c, p->s, "additionalProperties"); }

/* What must hold for the value of a member: what each part says of it by name, else of members that it does not name. */
static enum err property_view(struct converter *c, const struct view *v, str name, struct view *out)
{
    for (uint32_t i = 0; i < v->n; i++) {
        json properties = schema_member(c, v->p[i].s, "properties"), s = name.p ? json_member(properties, name) : JSON_ABSENT;
        enum err e = schema_spend(c, name.p ? json_count(properties) : 0);
        if (json_type(s) == JSON_NONE)
            s = additional(c, &v->p[i]);
        if (!e && json_type(s) != JSON_NONE)
            e = view_add(c, out, s);
        if (e)
            return e;
    }
    return ERR_OK;
}

/* May members follow that nobody named, and of which kind? Where properties are named and nothing is said, none. */
static enum err read_extra(struct converter *c, const struct view *v, struct object *ob)
{
    struct part parts[VIEW_MAX];
    struct view extra = { .p = parts };
    for (uint32_t i = 0; i < v->n; i++) {
        json a = additional(c, &v->p[i]), u = schema_member(c, v->p[i].s, "unevaluatedProperties");
        ob->open |= json_type(a) != JSON_NONE;
        if (json_type(u) == JSON_NONE || json_type(u) == JSON_TRUE)
            continue;
        if (json_type(u) != JSON_FALSE || (v->n > 1 && !(v->p[i].done & DONE_TOP)))
            return schema_fail(c, ERR_UNSUPPORTED, v->p[i].s, "unevaluatedProperties", "only false, and not beside other schemas, can be honoured");
        extra.never = true;
    }
    enum err e = property_view(c, v, STR_NONE, &extra);
    ob->open &= !extra.never;
    return e || !ob->open ? e : view_rule(c, &extra, ob->extra);
}

/* minProperties and maxProperties count all members, which the rules do not: fine where it is only the unnamed ones, or makes no difference. */
static enum err read_counts(struct converter *c, const struct view *v, struct object *ob)
{
    uint32_t least = 0, required = 0;
    json min_in = JSON_ABSENT, max_in = JSON_ABSENT;
    ob->max = UINT32_MAX;
    enum err e = view_count(c, v, "minProperties", false, &least, &min_in);
    e = e ? e : view_count(c, v, "maxProperties", true, &ob->max, &max_in);
    if (e)
        return e;
    for (uint32_t i = 0; i < ob->n; i++)
        required += ob->list[i].required;
    ob->min = least > required ? least - required : 0;
    if (ob->min && ob->n > required)
        return schema_fail(c, ERR_UNSUPPORTED, min_in, "minProperties", "cannot be honoured where properties are optional");
    if (ob->max == UINT32_MAX || ob->max >= ob->n) {
        ob->max -= ob->max == UINT32_MAX ? 0 : ob->n;
        return ERR_OK;
    }
    if (ob->n > required && ob->max >= required)
        return schema_fail(c, ERR_UNSUPPORTED, max_in, "maxProperties", "cannot be honoured where properties are optional");
    ob->min = 1;                        /* more are required than there may be: no such object */
    ob->max = 0;
    return ERR_OK;
}

/* ---- names that others may not have ---- */

/* NAMEkA-B: the rest of a name, of which the beginning is that of the sorted names from A on. Those names themselves are not made. */
struct prefix { uint32_t from, to, depth; };

static void put_class_but(struct rules *o, const struct property *sorted, const struct prefix *p)
{
    rules_put(o, "[^\\x01-\\x1F\\x22\\x5C");
    unsigned char last = 0;
    for (uint32_t i = p->from; i < p->to; i++) {
        str name = sorted[i].name;
        unsigned char c = name.n > p->depth ? (unsigned char)name.p[p->depth] : 0;
        if (c && c != last && c < 0x80)
            rules_put(o, "\\x%02X", c);
        last = c;
    }
    /* Names are told apart by ASCII; a name with another letter where another name could differ excludes all of those. */
    for (uint32_t i = p->from; i < p->to; i++)
        if (sorted[i].name.n > p->depth && (unsigned char)sorted[i].name.p[p->depth] >= 0x80) {
            rules_put(o, "\\u0080-\\U0010FFFF");
            break;
        }
    rules_put(o, "]");
}

static enum err write_other_names(struct converter *c, const struct object *ob, const char *name)
{
    struct rules *o = c->o;
    size_t letters = 1;
    for (uint32_t i = 0; i < ob->n; i++)
        letters += ob->list[i].name.n + 1;
    struct property *sorted = arena_new(c->a, struct property, ob->n + 1);
    struct prefix *queue = arena_new(c->a, struct prefix, letters);
    if (!sorted || !queue)
        return schema_full(c);
    memcpy(sorted, ob->list, ob->n * sizeof *sorted);
    qsort(sorted, ob->n, sizeof *sorted, by_name);
    size_t n = 1;
    queue[0] = (struct prefix){ 0, ob->n, 0 };
    for (size_t at = 0; at < n; at++) {
        struct prefix p = queue[at];
        bool is_name = sorted[p.from].name.n == p.depth;
        if (schema_spend(c, p.to - p.from))
            return ERR_LIMIT;
        rules_put(o, "%sk%ux%u ::= ", name, p.from, p.depth);
        put_class_but(o, sorted, &p);
        rules_put(o, " %s", rules_use(o, PRIMITIVE_KEY));
        if (!is_name && p.depth > 0)
            rules_put(o, " | \"\\\"\"");
        for (uint32_t i = p.from + is_name; i < p.to;) {
            uint32_t end = i + 1;
            unsigned char ch = (unsigned char)sorted[i].name.p[p.depth];
            while (end < p.to && (unsigned char)sorted[end].name.p[p.depth] == ch)
                end++;
            if (ch >= 0x20 && ch < 0x80 && ch != '"' && ch != '\\') {
                rules_put(o, " | \"%c\" %sk%ux%u", ch, name, i, p.depth + 1);
                queue[n++] = (struct prefix){ i, end, p.depth + 1 };
            }
            i = end;
        }
        rules_put(o, "\n");
    }
    return ERR_OK;
}

/* ---- writing ---- */

static void put_key(struct converter *c, str name)
{
    struct buf b = { .max = 1 << 20 };
    enum err e = buf_putc(&b, '"');
    e = e ? e : json_escape(&b, name);
    e = e ? e : buf_put(&b, S("\":"));
    c->o->err = c->o->err ? c->o->err : e;
    rules_put_text(c->o, buf_str(&b));
    rules_put(c->o, " \" \"? ");
    buf_free(&b);
}

/* From `min` to `max` more of `item`, and the closing bracket. `first`: none has come yet. */
static void put_more(struct converter *c, const char *item, char close, uint32_t min, uint32_t max, bool first)
{
    struct rules *o = c->o;
    const char *ws = rules_use(o, PRIMITIVE_WS);
    if (first && min == 0)
        rules_put(o, "\"%c\" | ", close);
    if (first) {
        rules_put(o, "%s ", item);
        min -= min > 0;
        max -= max != UINT32_MAX;
    }
    rules_put(o, "(\",\" %s %s){%u,", ws, item, min);
    if (max != UINT32_MAX)
        rules_put(o, "%u", max);
    rules_put(o, "} %s \"%c\"", ws, close);
}

/* What follows all named members: others, and the closing brace. `first`: none has come yet. */
static void put_end(struct converter *c, const struct object *ob, const char *name, bool first)
{
    struct rules *o = c->o;
    const char *ws = rules_use(o, PRIMITIVE_WS), *never = rules_use(o, PRIMITIVE_NEVER);
    uint32_t min = ob->min, max = ob->max;
    if (min > max || (min && !ob->open)) {
        rules_put(o, "%s", never);
    } else if (!ob->open || max == 0) {
        rules_put(o, "%s \"}\"", first ? "" : ws);
    } else {
        char item[SCHEMA_NAME + 1];
        snprintf(item, sizeof item, "%sm", name);
        put_more(c, item, '}', min, max, first);
    }
    rules_put(o, "\n");
}

/* A member that nobody named. */
static enum err write_extra(struct converter *c, const struct object *ob, const char *name)
{
    if (!ob->open)
        return ERR_OK;
    if (ob->n)
        rules_put(c->o, "%sm ::= \"\\\"\" %sk0x0 \":\" \" \"? %s\n", name, name, ob->extra);
    else
        rules_put(c->o, "%sm ::= \"\\\"\" [^\\x01-\\x1F\\x22\\x5C] %s \":\" \" \"? %s\n", name, rules_use(c->o, PRIMITIVE_KEY), ob->extra);
    return ob->n ? write_other_names(c, ob, name) : ERR_OK;
}

enum err write_object(struct converter *c, const struct view *v, const char *name)
{
    struct object ob = { .list = NULL };
    struct rules *o = c->o;
    const char *ws = rules_use(o, PRIMITIVE_WS);
    bool first = true;
    enum err e = read_properties(c, v, &ob);
    e = e ? e : read_extra(c, v, &ob);
    e = e ? e : read_counts(c, v, &ob);
    if (e)
        return e;
    rules_put(o, "%s ::= \"{\" %s %sa0\n", name, ws, name);
    for (uint32_t k = 0; k < ob.n; k++) {
        struct part parts[VIEW_MAX];
        struct view value = { .p = parts };
        char rule[SCHEMA_NAME];
        e = property_view(c, v, ob.list[k].name, &value);
        e = e ? e : view_rule(c, &value, rule);
        if (e)
            return e;
        for (int after = !first; after < (k ? 2 : 1); after++) {
            rules_put(o, "%s%c%u ::= ", name, after ? 'b' : 'a', k);
            if (after)
                rules_put(o, "\",\" %s ", ws);
            put_key(c, ob.list[k].name);
            rules_put(o, "%s %sb%u", rule, name, k + 1);
            if (!ob.list[k].required)
                rules_put(o, " | %s%c%u", name, after ? 'b' : 'a', k + 1);
            rules_put(o, "\n");
        }
        first &= !ob.list[k].required;
    }
    for (int after = !first; after < (ob.n ? 2 : 1); after++) {
        rules_put(o, "%s%c%u ::= ", name, after ? 'b' : 'a', ob.n);
        put_end(c, &ob, name, !after);
    }
    return write_extra(c, &ob, name);
}

/* ---- arrays ---- */

struct array { uint32_t min, max, places; bool more; };         /* places: of items with a schema of their own; more: others may follow */

/* The list of the first items' schemas, and that of all others; before 2020 they were called items and additionalItems. */
static void item_lists(struct converter *c, json s, json *places, json *others)
{
    json items = schema_member(c, s, "items");
    bool old = json_type(items) == JSON_ARRAY;
    *places = old ? items : schema_member(c, s, "prefixItems");
    *others = old ? schema_member(c, s, "additionalItems") : items;
}

static enum err item_rule(struct converter *c, const struct view *v, uint32_t place, char rule[SCHEMA_NAME])
{
    struct part parts[VIEW_MAX];
    struct view item = { .p = parts };
    for (uint32_t i = 0; i < v->n; i++) {
        json places, others;
        item_lists(c, v->p[i].s, &places, &others);
        json s = place < json_count(places) ? json_at(places, place) : others;
        enum err e = schema_spend(c, place);
        if (!e && json_type(s) != JSON_NONE)
            e = view_add(c, &item, s);
        if (e)
            return e;
    }
    return view_rule(c, &item, rule);
}

static enum err read_array(struct converter *c, const struct view *v, struct array *ar)
{
    json min_in = JSON_ABSENT, max_in = JSON_ABSENT;
    bool said = false;
    *ar = (struct array){ .max = UINT32_MAX };
    enum err e = view_count(c, v, "minItems", false, &ar->min, &min_in);
    e = e ? e : view_count(c, v, "maxItems", true, &ar->max, &max_in);
    for (uint32_t i = 0; i < v->n && !e; i++) {
        json places, others, s = v->p[i].s;
        item_lists(c, s, &places, &others);
        if (json_type(places) != JSON_NONE && json_type(places) != JSON_ARRAY)
            return schema_fail(c, ERR_SYNTAX, s, "prefixItems", "must be a list of schemas");
        if (json_count(places) > SCHEMA_MAX_REPEAT)
            return schema_fail(c, ERR_RANGE, s, "prefixItems", "more than 10000 cannot be counted by this engine");
        ar->places = json_count(places) > ar->places ? (uint32_t)json_count(places) : ar->places;
        said |= json_type(others) != JSON_NONE;
    }
    ar->places = ar->max < ar->places ? ar->max : ar->places;
    ar->more = ar->max > ar->places && (said || ar->places == 0 || ar->min > ar->places);
    return e;
}

/* After all places: others, as many as there may be, and the closing bracket. `first`: no item has come yet. */
static void put_rest(struct converter *c, const struct array *ar, const char *rule, bool first)
{
    struct rules *o = c->o;
    const char *ws = rules_use(o, PRIMITIVE_WS);
    uint32_t min = ar->min > ar->places ? ar->min - ar->places : 0, max = ar->max == UINT32_MAX ? UINT32_MAX : ar->max - ar->places;
    if (min > max) {
        rules_put(o, "%s", rules_use(o, PRIMITIVE_NEVER));
    } else if (!ar->more) {
        rules_put(o, "%s \"]\"", first ? "" : ws);
    } else {
        put_more(c, rule, ']', min, max, first);
    }
    rules_put(o, "\n");
}

enum err write_array(struct converter *c, const struct view *v, const char *name)
{
    struct array ar;
    char rule[SCHEMA_NAME] = "";
    struct rules *o = c->o;
    const char *ws = rules_use(o, PRIMITIVE_WS);
    enum err e = read_array(c, v, &ar);
    if (e)
        return e;
    rules_put(o, "%s ::= \"[\" %s %sb0\n", name, ws, name);
    for (uint32_t k = 0; k < ar.places; k++) {
        if ((e = item_rule(c, v, k, rule)))
            return e;
        rules_put(o, "%sb%u ::= ", name, k);
        if (k)
            rules_put(o, "\",\" %s ", ws);
        rules_put(o, "%s %sb%u", rule, name, k + 1);
        if (k >= ar.min)
            rules_put(o, " | %s \"]\"", k ? ws : "");
        rules_put(o, "\n");
    }
    if (ar.more && (e = item_rule(c, v, ar.places, rule)))
        return e;
    rules_put(o, "%sb%u ::= ", name, ar.places);
    put_rest(c, &ar, rule, ar.places == 0);
    return ERR_OK;
}
