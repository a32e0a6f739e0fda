/* wire/names.h: the words that every layer above core uses: dialects, operations, zones, risks, data classes. Includes: core. */
#ifndef HEARTH_WIRE_NAMES_H
#define HEARTH_WIRE_NAMES_H

#include "core/str.h"

enum dialect { DIALECT_OPENAI, DIALECT_ANTHROPIC, DIALECT_OLLAMA, DIALECT_RESPONSES };      /* responses: OpenAI's newer API */
/* count: tokens of a prompt; tokenize and detokenize: a text and its tokens; load and unload: a model, which Ollama's API knows */
enum op { OP_NONE, OP_CHAT, OP_COMPLETION, OP_EMBEDDING, OP_MODELS, OP_COUNT, OP_LOAD, OP_UNLOAD, OP_TOKENIZE, OP_DETOKENIZE };
static inline bool op_is_tokens(enum op o) { return o == OP_TOKENIZE || o == OP_DETOKENIZE; }

/* Where bytes go. The order is by trust: a ceiling compares with <=. */
enum zone { ZONE_MACHINE, ZONE_PRIVATE, ZONE_CLOUD };
enum risk { RISK_LOW, RISK_MEDIUM, RISK_HIGH };
/* What may go where: private never to cloud; internal to cloud only masked. */
enum data_class { DATA_PUBLIC, DATA_INTERNAL, DATA_PRIVATE };

str dialect_name(enum dialect d);
str op_name(enum op o);                     /* OpenTelemetry gen_ai.operation.name: "chat", "text_completion", "embeddings" */
str zone_name(enum zone z);
str risk_name(enum risk r);
str data_name(enum data_class d);
bool zone_from(str s, enum zone *out);
bool risk_from(str s, enum risk *out);
bool data_from(str s, enum data_class *out);

#endif
