/* fleet/gpu.h: the GPUs of this machine. Includes: core. Blocking (the first look may take a second): for a thread of its own.
 *
 * NVIDIA's by NVML, which is loaded when it is there (libnvidia-ml.so.1, then libnvidia-ml.so) and needs no header: the functions bound are nvmlInit_v2,
 * nvmlShutdown, nvmlErrorString, nvmlDeviceGetCount_v2, nvmlDeviceGetHandleByIndex_v2, nvmlDeviceGetName, nvmlDeviceGetUUID, nvmlDeviceGetMemoryInfo (three
 * unsigned long long: total, free, used), nvmlDeviceGetUtilizationRates (two unsigned: gpu, memory), nvmlDeviceGetTemperature (sensor 0),
 * nvmlDeviceGetTotalEnergyConsumption (millijoules since the driver was loaded) and nvmlDeviceGetComputeRunningProcesses_v3 (pid, bytes, two instance ids). Only
 * those up to the memory are needed; what a library lacks, or a device does not support, is unknown.
 *
 * AMD's by /sys/class/drm/cardN/device: vendor, mem_info_vram_total, mem_info_vram_used, gpu_busy_percent, hwmon/hwmonN/temp1_input. */
#ifndef HEARTH_FLEET_GPU_H
#define HEARTH_FLEET_GPU_H

#include "core/err.h"
#include "core/str.h"

#define GPU_MAX 16

struct gpu_device {
    enum { GPU_NVIDIA, GPU_AMD } make;
    char name[96];
    char uuid[64];                      /* what CUDA_VISIBLE_DEVICES takes; of AMD, its index for HIP_VISIBLE_DEVICES */
    int64_t total, free;                /* bytes */
    int busy, celsius;                  /* percent; -1: unknown */
    double joules;                      /* since the driver was loaded; NAN: unknown */
};
struct gpu_process { int pid; int64_t bytes; };

struct gpus;
struct gpu_options {
    const char *library;                /* instead of the usual names; "off": none */
    const char *sys;                    /* "/sys"; for tests */
    const char *visible;                /* CUDA_VISIBLE_DEVICES of this process: what it may not see, it does not use; NULL: all */
};
/* Never fails: without a library, or with one that does not work, there are no NVIDIA devices, and `why` says so where one was there. */
struct gpus *gpu_open(const struct gpu_options *o, char why[200]);      /* NULL: no memory */
void gpu_close(struct gpus *g);

/* The devices as they are now, in a fixed order; one that has been lost is left out. */
size_t gpu_look(struct gpus *g, struct gpu_device out[GPU_MAX]);
/* Who has memory of the device (of the last look); n may be 0 where that is not told, as in containers. */
size_t gpu_processes(struct gpus *g, size_t device, struct gpu_process *out, size_t cap);

#endif
