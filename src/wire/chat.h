/* wire/chat.h: a conversation as no API in particular says it: the middle between two dialects. Includes: core, wire. Pure.
 *
 * A call whose client and upstream speak the same dialect never comes here: its bytes are forwarded. Where they differ,
 * the client's codec decodes its body to a `chat` (…_to_chat) and the upstream's codec writes its own body from it
 * (…_from_chat). Texts have their escapes resolved; they are slices of the client's body or live in the arena. What no dialect
 * looks into (schemas, arguments of tools) stays JSON.
 *
 * Nothing is lost in silence. A field that the client's codec understands and a `chat` has no room for, or that the upstream's
 * dialect has no word for, is either refused (ERR_UNSUPPORTED with its name, when the answer would be a different one without
 * it: images, forced tools, schemas, n > 1, stop sequences, logprobs) or noted by chat_drop() (hints: seed, penalties, user,
 * metadata, cache marks, unknown fields), and the client finds it in `x-hearth-dropped`. */
#ifndef HEARTH_WIRE_CHAT_H
#define HEARTH_WIRE_CHAT_H

#include "wire/call.h"

enum part_kind { PART_TEXT, PART_IMAGE, PART_TOOL_CALL, PART_TOOL_RESULT, PART_THINKING };

struct part {
    enum part_kind kind;
    str text;                           /* TEXT, THINKING: it. TOOL_CALL: the arguments, JSON text of an object. TOOL_RESULT: its texts, joined by \n */
    str id, name;                       /* TOOL_CALL: both. TOOL_RESULT: the id of the call, the name where it was given */
    str media_type, data, url, detail;  /* IMAGE: base64 with its type, or a URL (http or https; a data: URL is taken apart); detail or empty */
    str signature;                      /* THINKING: opaque, to be given back as it is; redacted: `data` holds the sealed text */
    bool redacted, is_error;            /* THINKING; TOOL_RESULT: the tool failed */
    json cache_control;                 /* Anthropic's mark; JSON_ABSENT: none */
    struct part *images;                /* TOOL_RESULT: images among its content */
    size_t n_images;
};

/* System and developer turns stand where the client put them; Anthropic's `system` is the first turn. A turn of the role TOOL has
 * only TOOL_RESULT parts. Other parts of an Anthropic user message that has results follow as a user turn. */
struct turn {
    enum role role;
    struct part *parts;
    size_t n;
    str name;                           /* of the participant; mostly empty */
};

struct tool {
    str name, description;
    json schema;                        /* of its parameters; JSON_ABSENT: none */
    int strict;                         /* 1, 0; -1: not said */
    json cache_control;
};

enum tool_choice { TOOLS_UNSET, TOOLS_AUTO, TOOLS_NONE, TOOLS_REQUIRED, TOOLS_NAMED };
enum format { FORMAT_TEXT, FORMAT_JSON, FORMAT_SCHEMA };

#define CHAT_MAX_DROPPED 32

struct chat {
    struct turn *turns;
    size_t n_turns;
    struct tool *tools;
    size_t n_tools;
    enum tool_choice tool_choice;
    str tool_name;                      /* TOOLS_NAMED */
    int parallel_tools;                 /* 1, 0; -1: not said */
    enum format format;
    str schema_name;                    /* FORMAT_SCHEMA; may be empty */
    json schema;
    int schema_strict;                  /* 1, 0; -1: not said */
    struct params params;
    json logit_bias;
    str effort;                         /* "none", "minimal", "low", "medium", "high"; empty: not said */
    int64_t thinking_budget;            /* tokens; 0: no thinking; PARAM_UNSET: not said */
    str user;                           /* the end user's name for abuse control; empty: none */
    json metadata;
    bool stream, include_usage;
    bool newer_limit;                   /* max_tokens goes as max_completion_tokens */
    bool early_count;                   /* an upstream that can shall say how long the prompt is before its first token */
    bool has_image;
    str dropped[CHAT_MAX_DROPPED];
    size_t n_dropped;
};

void chat_init(struct chat *c);                         /* everything "not said" */
void chat_drop(struct chat *c, str field);              /* once per name; past the limit it is counted as "…" */
str chat_dropped(struct arena *a, const struct chat *c);        /* "seed, user", for the header; empty: nothing */

/* The parts of `t` that are text, joined without a separator; a slice where there is only one. */
enum err turn_text(struct arena *a, const struct turn *t, str *out);
/* "data:image/png;base64,…" → its parts; false: it is no such URL, or not base64. */
bool part_data_url(str url, str *media_type, str *data);

/* A default of thinking tokens for an effort, and the other way round: low 1024 (Anthropic's least), medium 8192, high 24576. */
int64_t effort_budget(str effort);
str budget_effort(int64_t tokens);

#endif
