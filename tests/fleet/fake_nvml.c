/* A library with NVML's symbols, for machines without NVIDIA's. It reads the file that FAKE_NVML names at every call:
 *
 *   device UUID TOTAL USED BUSY CELSIUS MILLIJOULES NAME…      one line a device; memory in megabytes of 10^6
 *   process DEVICE PID MEGABYTES                               -1: not told
 *   lost                                                       a device that does not answer
 *   init CODE, count CODE                                      what those calls return
 *
 * FAKE_OLD: without what an old library lacks. FAKE_LAME: without what hearth needs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct memory { unsigned long long total, free, used; };
struct utilization { unsigned gpu, memory; };
struct process { unsigned pid; unsigned long long bytes; unsigned gpu_instance, compute_instance; };
struct device { char uuid[64], name[96]; unsigned long long total, used, mj; unsigned busy, celsius; int lost; };

static struct device devices[16];
static struct process processes[64];
static int at[64];
static unsigned n_devices, n_processes;
static int init_code, count_code;

static void read_all(void)
{
    const char *path = getenv("FAKE_NVML");
    char line[512];
    FILE *f = path ? fopen(path, "r") : NULL;
    n_devices = n_processes = 0;
    init_code = count_code = 0;
    while (f && fgets(line, sizeof line, f)) {
        struct device *d = &devices[n_devices];
        struct process *p = &processes[n_processes];
        long long mb;
        if (n_devices < 16 && strncmp(line, "lost", 4) == 0) {
            memset(d, 0, sizeof *d);
            d->lost = 1;
            n_devices++;
        } else if (n_devices < 16 && sscanf(line, "device %63s %llu %llu %u %u %llu %95[^\n]", d->uuid, &d->total, &d->used, &d->busy, &d->celsius, &d->mj, d->name) == 7) {
            d->lost = 0;
            n_devices++;
        } else if (n_processes < 64 && sscanf(line, "process %d %u %lld", &at[n_processes], &p->pid, &mb) == 3) {
            p->bytes = mb < 0 ? ~0ULL : (unsigned long long)mb * 1000000;
            n_processes++;
        }
        (void)(sscanf(line, "init %d", &init_code) + sscanf(line, "count %d", &count_code));
    }
    if (f)
        fclose(f);
}

int nvmlInit_v2(void);
int nvmlShutdown(void);
const char *nvmlErrorString(int code);
int nvmlDeviceGetCount_v2(unsigned *n);
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **handle);
int nvmlDeviceGetMemoryInfo(void *handle, struct memory *m);
int nvmlDeviceGetName(void *handle, char *name, unsigned n);
int nvmlDeviceGetUUID(void *handle, char *uuid, unsigned n);
int nvmlDeviceGetUtilizationRates(void *handle, struct utilization *u);
int nvmlDeviceGetTemperature(void *handle, int sensor, unsigned *t);
int nvmlDeviceGetTotalEnergyConsumption(void *handle, unsigned long long *mj);
int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned *n, struct process *list);

int nvmlInit_v2(void) { read_all(); return init_code; }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int code)
{
    static char text[64];
    snprintf(text, sizeof text, "error %d of the fake", code);
    return text;
}
int nvmlDeviceGetCount_v2(unsigned *n) { read_all(); *n = n_devices; return count_code; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **handle) { *handle = &devices[i]; return 0; }
#ifndef FAKE_LAME
int nvmlDeviceGetMemoryInfo(void *handle, struct memory *m)
{
    struct device *d = handle;
    *m = (struct memory){ d->total * 1000000, (d->total - d->used) * 1000000, d->used * 1000000 };
    return d->lost ? 15 : 0;            /* NVML_ERROR_GPU_IS_LOST */
}
#endif
#ifndef FAKE_OLD
int nvmlDeviceGetName(void *handle, char *name, unsigned n) { snprintf(name, n, "%s", ((struct device *)handle)->name); return 0; }
int nvmlDeviceGetUUID(void *handle, char *uuid, unsigned n) { snprintf(uuid, n, "%s", ((struct device *)handle)->uuid); return 0; }
int nvmlDeviceGetUtilizationRates(void *handle, struct utilization *u) { *u = (struct utilization){ ((struct device *)handle)->busy, 0 }; return 0; }
int nvmlDeviceGetTemperature(void *handle, int sensor, unsigned *t) { *t = ((struct device *)handle)->celsius; return sensor; }
int nvmlDeviceGetTotalEnergyConsumption(void *handle, unsigned long long *mj) { *mj = ((struct device *)handle)->mj; return 0; }
int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned *n, struct process *list)
{
    unsigned k = 0;
    for (unsigned i = 0; i < n_processes && k < *n; i++)
        if (at[i] == (struct device *)handle - devices)
            list[k++] = processes[i];
    *n = k;
    return 0;
}
#endif
