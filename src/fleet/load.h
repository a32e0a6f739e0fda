/* fleet/load.h: how busy a server says it is. Includes: core. Pure.
 *
 * From /metrics, which is foreign bytes in Prometheus' text format (name{labels} value [time]; lines that begin with # are comments). Read are, summed over
 * their series, and the most of them for the share of the cache:
 *
 *   vLLM 0.32            vllm:num_requests_running, vllm:num_requests_waiting, vllm:generation_tokens_total,
 *                        vllm:kv_cache_usage_perc (0 to 1; older: vllm:gpu_cache_usage_perc)
 *   llama-server 0.6     llamacpp:requests_processing, llamacpp:requests_deferred, llamacpp:tokens_predicted_total */
#ifndef HEARTH_FLEET_LOAD_H
#define HEARTH_FLEET_LOAD_H

#include "core/err.h"
#include "core/str.h"

#define LOAD_BYTES (4u << 20)           /* of /metrics; vLLM's is about 60 KB */

struct load {                           /* -1: not said */
    double running, waiting;            /* requests */
    double cache;                       /* share of the memory for keys and values that is used, 0 to 1 */
    double tokens;                      /* generated since the server was started */
};
#define LOAD_UNKNOWN ((struct load){ -1, -1, -1, -1 })

/* ERR_UPSTREAM: there is nothing in it that is known here. */
enum err load_read(str metrics, struct load *out);

#endif
