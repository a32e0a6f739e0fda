/* infer/confine.h: take from this process what reading a model and answering on its socket does not need. Includes: core.
 *
 * Code that parses a foreign model may be taken over by it. What it could reach then: no file by any path (Landlock with no rule;
 * where the kernel has none, seccomp refuses to open), no network (an empty network namespace, and seccomp refuses to make or connect
 * sockets), no other program or process (seccomp), no capability, no core dump. What stays are the descriptors that are open: the
 * model, adapters and the file of kept beginnings, the listening socket and its connections, standard error.
 *
 * A GPU build keeps its device nodes, and reading below /usr, /proc and /sys, which its driver loads things from.
 *
 * Sources: Linux man pages seccomp(2), landlock(7), unshare(2), capabilities(7), user_namespaces(7). */
#ifndef HEARTH_INFER_CONFINE_H
#define HEARTH_INFER_CONFINE_H

#include "core/json.h"

struct confinement {
    bool asked;                         /* false: --no-confine */
    bool no_new_privs, network, capabilities, seccomp, limits;
    int landlock;                       /* version of its interface, 0: the kernel has none */
};

/* In the only thread of the process, before the model is read: what follows inherits it. What the kernel does not have is left
 * out and shows in *out. ERR_IO: not even no_new_privs and seccomp could be set, so the model should not be loaded. */
/* file_size: the largest that an open file may become, in bytes; at least 64 MiB, for a log. */
enum err confine_self(bool gpu, uint64_t file_size, struct confinement *out);
void confine_json(struct json_out *o, const struct confinement *c);

#endif
