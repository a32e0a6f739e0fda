/* fleet/kind.h: the kinds of servers, in one table: how each is started, asked whether it lives, and asked what it serves. Includes: core.
 *
 * A kind is data: the machine (server.c) is the same for all of them. Sources, read or measured on the versions named: llama-server 0.6.0-dev
 * (tools/server/README.md), llama-cpp-python 0.3.36 (llama_cpp/server), vLLM 0.32 (docs: "OpenAI-compatible server", "Sleep mode"), Ollama 0.17.4
 * (docs/api.md, api/types.go). */
#ifndef HEARTH_FLEET_KIND_H
#define HEARTH_FLEET_KIND_H

#include "core/str.h"

enum fleet_kind { FLEET_ENGINE, FLEET_LLAMA_SERVER, FLEET_LLAMA_PYTHON, FLEET_VLLM, FLEET_OLLAMA, FLEET_OTHER, FLEET_PLAIN, FLEET_KINDS };       /* plain: only counted */

/* What a server can be asked. The answers are read by facts.h and load.h. */
enum question {
    ASK_NOTHING, ASK_PROPS, ASK_MODELS, ASK_VERSION, ASK_SERVER_INFO, ASK_API_VERSION, ASK_TAGS, ASK_SHOW, ASK_UNLOAD, ASK_METRICS, ASK_SLEEPING, ASK_WAKE, QUESTIONS
};
#define KIND_IDENTITY 4

struct kind {
    const char *name;                   /* as `start:` calls it, and `hearth ps` */
    const char *api;                    /* what it speaks, in the words of the configuration */
    const char *command;                /* fleet/command.h; NULL: none is known */
    const char *env[4];                 /* with placeholders; besides what every server gets */
    const char *health;                 /* 200 there: it can answer calls */
    int failures;                       /* starts in a row that may fail before those who wait are told */
    enum question identity[KIND_IDENTITY];      /* asked in this order when it is up, up to ASK_NOTHING */
    enum question check;                /* asked before every call */
    enum question load;                 /* asked while calls run: how busy it is */
};

const struct kind *kind_of(enum fleet_kind k);
/* By the name in `start:`; NULL: there is none, so it is a command line. The engine is not among them. */
const struct kind *kind_find(str name);
enum fleet_kind kind_id(const struct kind *k);

/* How a question is asked. `body`: what stands around the model's name; empty: none is sent. */
struct kind_question { str method, target, body[2]; };
const struct kind_question *kind_question(enum question q);

#endif
