/* NVML through a table of symbols, AMD's driver through its files. */
#include "fleet/gpu.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define AMD_VENDOR S("0x1002")
#define AMD_CARDS  64
#define PROCESSES  256

struct nvml_memory { unsigned long long total, free, used; };
struct nvml_utilization { unsigned gpu, memory; };
struct nvml_process { unsigned pid; unsigned long long bytes; unsigned gpu_instance, compute_instance; };

struct nvml {
    int (*init)(void);
    int (*shutdown)(void);
    const char *(*error)(int);
    int (*count)(unsigned *);
    int (*handle)(unsigned, void **);
    int (*memory)(void *, struct nvml_memory *);
    int (*name)(void *, char *, unsigned);
    int (*uuid)(void *, char *, unsigned);
    int (*utilization)(void *, struct nvml_utilization *);
    int (*temperature)(void *, int, unsigned *);
    int (*energy)(void *, unsigned long long *);
    int (*processes)(void *, unsigned *, struct nvml_process *);
};

#define FIELD(f) offsetof(struct nvml, f)
static const struct { const char *symbol; size_t at; bool needed; } symbols[] = {
    { "nvmlInit_v2", FIELD(init), true }, { "nvmlShutdown", FIELD(shutdown), true }, { "nvmlErrorString", FIELD(error), false },
    { "nvmlDeviceGetCount_v2", FIELD(count), true }, { "nvmlDeviceGetHandleByIndex_v2", FIELD(handle), true }, { "nvmlDeviceGetMemoryInfo", FIELD(memory), true },
    { "nvmlDeviceGetName", FIELD(name), false }, { "nvmlDeviceGetUUID", FIELD(uuid), false }, { "nvmlDeviceGetUtilizationRates", FIELD(utilization), false },
    { "nvmlDeviceGetTemperature", FIELD(temperature), false }, { "nvmlDeviceGetTotalEnergyConsumption", FIELD(energy), false },
    { "nvmlDeviceGetComputeRunningProcesses_v3", FIELD(processes), false },
};

struct gpus {
    void *library;
    struct nvml nvml;
    char sys[256], visible[1024];
    bool all_visible;
    void *handles[GPU_MAX];             /* of the last look; NULL: not NVIDIA's */
    size_t n;
};

/* ---- NVML ---- */

static const char *nvml_error(const struct nvml *n, int code)
{
    const char *text = n->error ? n->error(code) : NULL;
    return text ? text : "unknown error";
}

static bool bind(struct gpus *g, char why[200])
{
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
        void *p = dlsym(g->library, symbols[i].symbol);
        memcpy((char *)&g->nvml + symbols[i].at, &p, sizeof p);         /* POSIX: a pointer from dlsym() may be to a function */
        if (!p && symbols[i].needed) {
            snprintf(why, 200, "NVML lacks %s", symbols[i].symbol);
            return false;
        }
    }
    int code = g->nvml.init();
    if (code)
        snprintf(why, 200, "NVML does not start: %.120s (%d)", nvml_error(&g->nvml, code), code);
    return code == 0;
}

static void open_nvml(struct gpus *g, const char *library, char why[200])
{
    const char *const names[] = { library ? library : "libnvidia-ml.so.1", library ? NULL : "libnvidia-ml.so" };
    if (library && strcmp(library, "off") == 0)
        return;
    for (size_t i = 0; i < 2 && names[i] && !g->library; i++)
        g->library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (!g->library && library)
        snprintf(why, 200, "%.190s", dlerror());
    if (g->library && !bind(g, why)) {
        dlclose(g->library);
        g->library = NULL;
    }
}

/* "0,2", "GPU-6fb…": as CUDA reads it, up to the first that is none. */
static bool is_visible(const struct gpus *g, unsigned index, const char *uuid)
{
    str all = str_of(g->visible), one;
    if (g->all_visible)
        return true;
    while (all.n) {
        uint64_t number;
        str_cut(all, ',', &one, &all);
        one = str_trim(one);
        if (str_u64(one, &number) ? number == index : one.n > 3 && str_starts(str_of(uuid), one))
            return true;
        if (!one.n || one.p[0] == '-')
            return false;
    }
    return false;
}

static bool look_at(const struct nvml *n, void *handle, struct gpu_device *d)
{
    struct nvml_memory memory;
    struct nvml_utilization u;
    unsigned celsius;
    unsigned long long mj;
    *d = (struct gpu_device){ .make = GPU_NVIDIA, .busy = -1, .celsius = -1, .joules = NAN };
    if (n->memory(handle, &memory) || memory.total == 0 || memory.total > INT64_MAX)
        return false;                   /* it has fallen off the bus, or is another's */
    d->total = (int64_t)memory.total;
    d->free = memory.free < memory.total ? (int64_t)memory.free : d->total;
    if (!n->name || n->name(handle, d->name, sizeof d->name))
        snprintf(d->name, sizeof d->name, "NVIDIA GPU");
    if (!n->uuid || n->uuid(handle, d->uuid, sizeof d->uuid))
        d->uuid[0] = '\0';
    d->name[sizeof d->name - 1] = d->uuid[sizeof d->uuid - 1] = '\0';
    if (n->utilization && !n->utilization(handle, &u) && u.gpu <= 100)
        d->busy = (int)u.gpu;
    if (n->temperature && !n->temperature(handle, 0, &celsius) && celsius < 1000)
        d->celsius = (int)celsius;
    if (n->energy && !n->energy(handle, &mj))
        d->joules = (double)mj / 1000;
    return true;
}

static void look_nvml(struct gpus *g, struct gpu_device out[GPU_MAX])
{
    unsigned count = 0;
    if (!g->library || g->nvml.count(&count))
        return;
    for (unsigned i = 0; i < count && g->n < GPU_MAX; i++) {
        void *handle;
        struct gpu_device *d = &out[g->n];
        if (g->nvml.handle(i, &handle) || !look_at(&g->nvml, handle, d) || !is_visible(g, i, d->uuid))
            continue;
        if (!d->uuid[0])
            snprintf(d->uuid, sizeof d->uuid, "%u", i);
        g->handles[g->n++] = handle;
    }
}

/* ---- AMD ---- */

static bool read_number(const char *path, int64_t *out)
{
    char text[64];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text) : -1;
    if (fd >= 0)
        close(fd);
    str s = str_slice(text, n > 0 ? (size_t)n : 0);
    return str_i64(str_slice(s.p, str_index(s, '\n')), out);
}

static bool is_amd(const struct gpus *g, int card)
{
    char path[400], text[16];
    snprintf(path, sizeof path, "%s/class/drm/card%d/device/vendor", g->sys, card);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text) : -1;
    if (fd >= 0)
        close(fd);
    return n > 0 && str_starts(str_slice(text, (size_t)n), AMD_VENDOR);
}

static void look_amd(struct gpus *g, struct gpu_device out[GPU_MAX])
{
    int index = 0;
    for (int card = 0; card < AMD_CARDS && g->n < GPU_MAX; card++) {
        char base[300], path[400];
        int64_t total, used, v;
        if (!is_amd(g, card))
            continue;
        snprintf(base, sizeof base, "%s/class/drm/card%d/device", g->sys, card);
        snprintf(path, sizeof path, "%s/mem_info_vram_total", base);
        bool known = read_number(path, &total) && total > 0;
        snprintf(path, sizeof path, "%s/mem_info_vram_used", base);
        if (!known || !read_number(path, &used) || used < 0)
            continue;
        struct gpu_device *d = &out[g->n];
        *d = (struct gpu_device){ .make = GPU_AMD, .total = total, .free = used < total ? total - used : 0, .busy = -1, .celsius = -1, .joules = NAN };
        snprintf(d->name, sizeof d->name, "AMD GPU %d", index);
        snprintf(d->uuid, sizeof d->uuid, "%d", index++);
        snprintf(path, sizeof path, "%s/gpu_busy_percent", base);
        if (read_number(path, &v) && v >= 0 && v <= 100)
            d->busy = (int)v;
        for (int h = 0; h < 16 && d->celsius < 0; h++) {        /* millidegrees; one sensor chip belongs to a card */
            snprintf(path, sizeof path, "%s/hwmon/hwmon%d/temp1_input", base, h);
            if (read_number(path, &v) && v >= 0)
                d->celsius = (int)(v / 1000);
        }
        g->handles[g->n++] = NULL;
    }
}

/* ---- both ---- */

struct gpus *gpu_open(const struct gpu_options *o, char why[200])
{
    struct gpus *g = calloc(1, sizeof *g);
    *why = '\0';
    if (!g)
        return NULL;
    snprintf(g->sys, sizeof g->sys, "%s", o->sys ? o->sys : "/sys");
    snprintf(g->visible, sizeof g->visible, "%s", o->visible ? o->visible : "");
    g->all_visible = !o->visible;
    open_nvml(g, o->library, why);
    return g;
}

void gpu_close(struct gpus *g)
{
    if (g && g->library) {
        (void)g->nvml.shutdown();
        dlclose(g->library);
    }
    free(g);
}

size_t gpu_look(struct gpus *g, struct gpu_device out[GPU_MAX])
{
    g->n = 0;
    look_nvml(g, out);
    look_amd(g, out);
    return g->n;
}

size_t gpu_processes(struct gpus *g, size_t device, struct gpu_process *out, size_t cap)
{
    struct nvml_process list[PROCESSES];
    unsigned n = PROCESSES;
    size_t k = 0;
    if (device >= g->n || !g->handles[device] || !g->nvml.processes || g->nvml.processes(g->handles[device], &n, list))
        return 0;
    for (unsigned i = 0; i < n && i < PROCESSES && k < cap; i++)
        if (list[i].bytes <= INT64_MAX && list[i].pid <= INT32_MAX)     /* all ones: not told */
            out[k++] = (struct gpu_process){ (int)list[i].pid, (int64_t)list[i].bytes };
    return k;
}
