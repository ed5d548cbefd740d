/* libnvidia-ml.so.1 without a GPU: answers the calls that the sampler makes through the real pynvml from a scenario.
 *
 * Names, argument lists, structure layouts and constants are those of NVIDIA's nvml.h. A call that is not in here is a
 * symbol that the library does not have, as with an old driver; with -DOLD_DRIVER more of them are missing (R450: no
 * _v3 process lists, no memory v2, no GPM). A number that a GPU of the scenario does not have, or has as null, is
 * NOT_SUPPORTED. The keys are named in scenarios.py. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "scenario.h"

#define EXPORT __attribute__((visibility("default")))
#define MIB 1048576.0
#define NOT_AVAILABLE UINT64_MAX

typedef unsigned nvmlReturn;
typedef const char *Handle; /* points into `handles`: [gpu][0] is the GPU, [gpu][1 + slice] a MIG slice of it */

static const char handles[MAX_GPUS][1 + MAX_SLICES];
static int initialized;

/* One call in progress: the GPU that it is about, and in `device` the same or its MIG slice. */
typedef struct {
  nvmlReturn code;
  int gpu, slice;
  const Json *board, *device;
} Call;

static Call begin_at(const char *name, int gpu, int slice) {
  Call c = {.gpu = gpu, .slice = slice};
  c.code = scenario_enter(name, gpu);
  if (c.code) return c;
  if (!initialized && strncmp(name, "nvmlInit", 8)) c.code = UNINITIALIZED;
  if (c.code || gpu < 0) return c;
  c.board = json_at(json_get(scenario_root(), "gpus"), (size_t)gpu);
  c.device = slice < 0 ? c.board : json_at(json_get(c.board, "mig"), (size_t)slice);
  if (!c.device) c.code = INVALID_ARGUMENT;
  return c;
}

static Call begin_on(const char *name, Handle handle) {
  long offset = handle - &handles[0][0];
  if (!handle || offset < 0 || offset >= (long)sizeof handles) return begin_at(name, MAX_GPUS, -1);
  return begin_at(name, (int)(offset / (1 + MAX_SLICES)), (int)(offset % (1 + MAX_SLICES)) - 1);
}

static nvmlReturn finish(nvmlReturn code) {
  scenario_leave();
  return code;
}

#define BEGIN(gpu) Call c = begin_at(__func__, gpu, -1); if (c.code) return finish(c.code)
#define BEGIN_ON(handle) Call c = begin_on(__func__, handle); if (c.code) return finish(c.code)

static nvmlReturn give_number(const Json *object, const char *key, unsigned *out) {
  double value;
  if (!json_number(object, key, &value)) return NOT_SUPPORTED;
  *out = (unsigned)llround(value);
  return SUCCESS;
}

static nvmlReturn give_count(const Json *object, const char *key, double unit, uint64_t *out) {
  double value;
  if (!json_number(object, key, &value)) return NOT_SUPPORTED;
  *out = (uint64_t)(value * unit);
  return SUCCESS;
}

static nvmlReturn give_text(const char *text, char *out, unsigned length) {
  if (!text) return NOT_SUPPORTED;
  if (strlen(text) >= length) return INSUFFICIENT_SIZE;
  strcpy(out, text);
  return SUCCESS;
}

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* The library, the system */

EXPORT nvmlReturn nvmlInitWithFlags(unsigned flags) {
  (void)flags;
  BEGIN(-1);
  if (!scenario_root()) return finish(DRIVER_NOT_LOADED);
  initialized = 1;
  return finish(SUCCESS);
}

EXPORT nvmlReturn nvmlInit_v2(void) { return nvmlInitWithFlags(0); }

EXPORT nvmlReturn nvmlShutdown(void) {
  BEGIN(-1);
  initialized = 0;
  return finish(SUCCESS);
}

EXPORT const char *nvmlErrorString(nvmlReturn code) {
  static _Thread_local char text[32];
  snprintf(text, sizeof text, "NVML error %u", code);
  return text;
}

EXPORT nvmlReturn nvmlSystemGetDriverVersion(char *out, unsigned length) {
  BEGIN(-1);
  return finish(give_text(json_text(scenario_root(), "driver", NULL), out, length));
}

/* Which GPUs */

EXPORT nvmlReturn nvmlDeviceGetCount_v2(unsigned *count) {
  BEGIN(-1);
  *count = (unsigned)json_size(json_get(scenario_root(), "gpus"));
  return finish(SUCCESS);
}

EXPORT nvmlReturn nvmlDeviceGetHandleByIndex_v2(unsigned index, Handle *handle) {
  BEGIN(index < MAX_GPUS ? (int)index : MAX_GPUS);
  *handle = &handles[index][0];
  return finish(SUCCESS);
}

EXPORT nvmlReturn nvmlDeviceGetUUID(Handle handle, char *out, unsigned length) {
  BEGIN_ON(handle);
  return finish(give_text(json_text(c.device, "uuid", NULL), out, length));
}

EXPORT nvmlReturn nvmlDeviceGetName(Handle handle, char *out, unsigned length) {
  BEGIN_ON(handle);
  return finish(give_text(json_text(c.device, "name", NULL), out, length));
}

typedef struct {
  char busIdLegacy[16];
  unsigned domain, bus, device, pciDeviceId, pciSubSystemId;
  char busId[32];
} PciInfo;
_Static_assert(sizeof(PciInfo) == 68, "nvmlPciInfo_t");

EXPORT nvmlReturn nvmlDeviceGetPciInfo_v3(Handle handle, PciInfo *out) {
  BEGIN_ON(handle);
  memset(out, 0, sizeof *out);
  return finish(give_text(json_text(c.board, "pci", NULL), out->busId, sizeof out->busId));
}

EXPORT nvmlReturn nvmlDeviceGetMigMode(Handle handle, unsigned *current, unsigned *pending) {
  BEGIN_ON(handle);
  const Json *slices = json_get(c.board, "mig");
  if (!slices || slices->type != JSON_ARRAY) return finish(NOT_SUPPORTED);
  *current = *pending = json_size(slices) > 0;
  return finish(SUCCESS);
}

EXPORT nvmlReturn nvmlDeviceGetMaxMigDeviceCount(Handle handle, unsigned *count) {
  BEGIN_ON(handle);
  *count = MAX_SLICES;
  return finish(SUCCESS);
}

EXPORT nvmlReturn nvmlDeviceGetMigDeviceHandleByIndex(Handle handle, unsigned index, Handle *slice) {
  BEGIN_ON(handle);
  if (index >= MAX_SLICES || !json_at(json_get(c.board, "mig"), index)) return finish(NOT_FOUND);
  *slice = &handles[c.gpu][1 + index];
  return finish(SUCCESS);
}

/* Load, memory, power, heat, clocks */

typedef struct { unsigned gpu, memory; } Utilization;

EXPORT nvmlReturn nvmlDeviceGetUtilizationRates(Handle handle, Utilization *out) {
  BEGIN_ON(handle);
  nvmlReturn code = give_number(c.device, "busy_percent", &out->gpu);
  out->memory = 0;
  give_number(c.device, "memory_busy_percent", &out->memory);
  return finish(code);
}

typedef struct { uint64_t total, free, used; } Memory;
typedef struct { unsigned version; uint64_t total, reserved, free, used; } Memory2;
_Static_assert(sizeof(Memory2) == 40, "nvmlMemory_v2_t");

static nvmlReturn memory(const Json *device, Memory2 *out) {
  nvmlReturn code = give_count(device, "memory_total_mib", MIB, &out->total);
  if (!code) code = give_count(device, "memory_used_mib", MIB, &out->used);
  if (give_count(device, "memory_reserved_mib", MIB, &out->reserved)) out->reserved = 0;
  out->free = out->total - out->used - out->reserved;
  return code;
}

EXPORT nvmlReturn nvmlDeviceGetMemoryInfo(Handle handle, Memory *out) {
  BEGIN_ON(handle);
  Memory2 m = {0};
  nvmlReturn code = memory(c.device, &m);
  *out = (Memory){m.total, m.free, m.used + m.reserved};
  return finish(code);
}

#ifndef OLD_DRIVER
EXPORT nvmlReturn nvmlDeviceGetMemoryInfo_v2(Handle handle, Memory2 *out) {
  BEGIN_ON(handle);
  if (out->version != (sizeof *out | 2u << 24)) return finish(ARGUMENT_VERSION_MISMATCH);
  return finish(memory(c.device, out));
}
#endif

EXPORT nvmlReturn nvmlDeviceGetPowerUsage(Handle handle, unsigned *milliwatts) {
  BEGIN_ON(handle);
  return finish(give_number(c.device, "power_mw", milliwatts));
}

EXPORT nvmlReturn nvmlDeviceGetEnforcedPowerLimit(Handle handle, unsigned *milliwatts) {
  BEGIN_ON(handle);
  return finish(give_number(c.device, "power_limit_mw", milliwatts));
}

EXPORT nvmlReturn nvmlDeviceGetPowerManagementDefaultLimit(Handle handle, unsigned *milliwatts) {
  BEGIN_ON(handle);
  return finish(give_number(c.device, "power_limit_default_mw", milliwatts));
}

EXPORT nvmlReturn nvmlDeviceGetTemperature(Handle handle, unsigned sensor, unsigned *celsius) {
  BEGIN_ON(handle);
  return finish(sensor ? INVALID_ARGUMENT : give_number(c.device, "temperature_c", celsius));
}

static nvmlReturn clock_of(const Json *device, unsigned type, const char *sm, const char *memory_clock, unsigned *mhz) {
  if (type != 1 && type != 2) return INVALID_ARGUMENT; /* NVML_CLOCK_SM, NVML_CLOCK_MEM */
  return give_number(device, type == 1 ? sm : memory_clock, mhz);
}

EXPORT nvmlReturn nvmlDeviceGetClockInfo(Handle handle, unsigned type, unsigned *mhz) {
  BEGIN_ON(handle);
  return finish(clock_of(c.device, type, "sm_clock_mhz", "memory_clock_mhz", mhz));
}

EXPORT nvmlReturn nvmlDeviceGetMaxClockInfo(Handle handle, unsigned type, unsigned *mhz) {
  BEGIN_ON(handle);
  return finish(clock_of(c.device, type, "sm_clock_max_mhz", "memory_clock_max_mhz", mhz));
}

EXPORT nvmlReturn nvmlDeviceGetCurrentClocksThrottleReasons(Handle handle, uint64_t *mask) {
  BEGIN_ON(handle);
  return finish(give_count(c.device, "throttle_mask", 1, mask));
}

EXPORT nvmlReturn nvmlDeviceGetTotalEccErrors(Handle handle, unsigned type, unsigned counter, uint64_t *count) {
  BEGIN_ON(handle);
  (void)counter;
  return finish(give_count(c.device, type ? "ecc_uncorrected" : "ecc_corrected", 1, count));
}

/* PCIe, energy */

EXPORT nvmlReturn nvmlDeviceGetCurrPcieLinkGeneration(Handle handle, unsigned *out) {
  BEGIN_ON(handle);
  return finish(give_number(c.device, "pcie_generation", out));
}

EXPORT nvmlReturn nvmlDeviceGetCurrPcieLinkWidth(Handle handle, unsigned *out) {
  BEGIN_ON(handle);
  return finish(give_number(c.device, "pcie_width", out));
}

EXPORT nvmlReturn nvmlDeviceGetMaxPcieLinkGeneration(Handle handle, unsigned *out) {
  BEGIN_ON(handle);
  return finish(give_number(c.device, "pcie_generation_max", out));
}

EXPORT nvmlReturn nvmlDeviceGetGpuMaxPcieLinkGeneration(Handle handle, unsigned *out) {
  BEGIN_ON(handle);
  return finish(give_number(c.device, "pcie_generation_gpu_max", out));
}

EXPORT nvmlReturn nvmlDeviceGetMaxPcieLinkWidth(Handle handle, unsigned *out) {
  BEGIN_ON(handle);
  return finish(give_number(c.device, "pcie_width_max", out));
}

/* Counts for 20 ms, as the real one does. */
EXPORT nvmlReturn nvmlDeviceGetPcieThroughput(Handle handle, unsigned counter, unsigned *kb_per_s) {
  BEGIN_ON(handle);
  nvmlReturn code = give_number(c.device, counter ? "pcie_rx_kb_per_s" : "pcie_tx_kb_per_s", kb_per_s);
  finish(code);
  if (!code) nanosleep(&(struct timespec){0, 20000000}, NULL);
  return code;
}

typedef struct {
  unsigned fieldId, scopeId;
  int64_t timestamp, latencyUsec;
  unsigned valueType;
  nvmlReturn code;
  union { double d; unsigned ui; uint64_t ull; } value;
} FieldValue;
_Static_assert(sizeof(FieldValue) == 40, "nvmlFieldValue_t");

static nvmlReturn field(const Json *device, unsigned id, double *value) {
  static const struct { unsigned id; const char *key; double unit; } rates[] = {
      {83, "power_mw", 1}, /* energy in mJ */
      {197, "pcie_tx_kb_per_s", 1000},
      {198, "pcie_rx_kb_per_s", 1000},
  };
  for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
    if (rates[i].id != id) continue;
    if (!json_number(device, rates[i].key, value)) return NOT_SUPPORTED;
    *value *= rates[i].unit * seconds();
    return SUCCESS;
  }
  return NOT_SUPPORTED;
}

EXPORT nvmlReturn nvmlDeviceGetFieldValues(Handle handle, int count, FieldValue *values) {
  BEGIN_ON(handle);
  for (int i = 0; i < count; i++) {
    double value = 0;
    values[i].code = field(c.device, values[i].fieldId, &value);
    values[i].valueType = 3; /* unsigned long long */
    values[i].value.ull = (uint64_t)value;
    values[i].timestamp = (int64_t)(seconds() * 1e6);
  }
  return finish(SUCCESS);
}

/* Processes */

typedef struct { unsigned pid; uint64_t memory; unsigned instance, compute; } Process;
_Static_assert(sizeof(Process) == 24, "nvmlProcessInfo_v2_t");

static nvmlReturn processes(const Json *device, unsigned *count, Process *out) {
  const Json *list = json_get(device, "processes");
  if (!list || list->type != JSON_ARRAY) return NOT_SUPPORTED;
  unsigned size = (unsigned)json_size(list), room = *count, i = 0;
  *count = size;
  if (size && (!out || room < size)) return INSUFFICIENT_SIZE;
  for (const Json *p = list->child; p; p = p->next, i++) {
    double pid = 0;
    json_number(p, "pid", &pid);
    out[i] = (Process){(unsigned)pid, NOT_AVAILABLE, ~0u, ~0u};
    give_count(p, "memory_mib", MIB, &out[i].memory);
  }
  return SUCCESS;
}

EXPORT nvmlReturn nvmlDeviceGetComputeRunningProcesses_v2(Handle handle, unsigned *count, Process *out) {
  BEGIN_ON(handle);
  return finish(processes(c.device, count, out));
}

#ifndef OLD_DRIVER
EXPORT nvmlReturn nvmlDeviceGetComputeRunningProcesses_v3(Handle handle, unsigned *count, Process *out) {
  BEGIN_ON(handle);
  return finish(processes(c.device, count, out));
}
#endif

typedef struct { unsigned pid; uint64_t timestamp; unsigned sm, memory, encoder, decoder; } ProcessLoad;
_Static_assert(sizeof(ProcessLoad) == 32, "nvmlProcessUtilizationSample_t");

/* One sample a process, made now; NOT_FOUND where none is busy, as the driver says it. */
EXPORT nvmlReturn nvmlDeviceGetProcessUtilization(Handle handle, ProcessLoad *out, unsigned *count, uint64_t since) {
  BEGIN_ON(handle);
  const Json *list = json_get(c.device, "processes");
  if (!list || list->type != JSON_ARRAY || c.slice >= 0) return finish(NOT_SUPPORTED);
  unsigned room = *count, used = 0;
  *count = 100; /* the driver asks for its whole ring */
  if (!out) return finish(INSUFFICIENT_SIZE);
  uint64_t now_us = (uint64_t)(seconds() * 1e6);
  for (const Json *p = list->child; p && used < room; p = p->next) {
    double pid = 0, busy;
    if (!json_number(p, "busy_percent", &busy) || now_us <= since) continue;
    json_number(p, "pid", &pid);
    out[used++] = (ProcessLoad){(unsigned)pid, now_us, (unsigned)busy, 0, 0, 0};
  }
  *count = used;
  return finish(used ? SUCCESS : NOT_FOUND);
}

/* GPM: activity of the SMs between two samples (Hopper and later) */

#ifndef OLD_DRIVER
typedef struct { double made; Handle device; } GpmSample;
typedef struct {
  unsigned id;
  nvmlReturn code;
  double value;
  const char *names[3];
} GpmMetric;
typedef struct {
  unsigned version, count;
  GpmSample *first, *second;
  GpmMetric metrics[];
} GpmMetrics;
typedef struct { unsigned version, supported; } GpmSupport;
_Static_assert(sizeof(GpmMetric) == 40 && sizeof(GpmMetrics) == 24, "nvmlGpmMetricsGet_t");

EXPORT nvmlReturn nvmlGpmQueryDeviceSupport(Handle handle, GpmSupport *out) {
  BEGIN_ON(handle);
  double value;
  out->supported = (unsigned)json_number(c.device, "sm_active_percent", &value);
  return finish(SUCCESS);
}

EXPORT nvmlReturn nvmlGpmSampleAlloc(GpmSample **out) {
  BEGIN(-1);
  *out = calloc(1, sizeof **out);
  return finish(SUCCESS);
}

EXPORT nvmlReturn nvmlGpmSampleGet(Handle handle, GpmSample *sample) {
  BEGIN_ON(handle);
  *sample = (GpmSample){seconds(), handle};
  return finish(SUCCESS);
}

EXPORT nvmlReturn nvmlGpmMetricsGet(GpmMetrics *get) {
  BEGIN_ON(get->second->device);
  if (get->second->made - get->first->made < 0.1) return finish(INVALID_ARGUMENT); /* nvml.h asks for 100 ms */
  for (unsigned i = 0; i < get->count; i++) {
    GpmMetric *metric = &get->metrics[i];
    const char *key = metric->id == 2 ? "sm_active_percent" : metric->id == 5 ? "tensor_active_percent"
                    : metric->id == 10 ? "dram_active_percent" : "";
    metric->code = json_number(c.device, key, &metric->value) ? SUCCESS : NOT_SUPPORTED;
  }
  return finish(SUCCESS);
}
#endif

/* What only other tools ask for (nvitop, gpustat), so that they can be run beside ours. Their further arguments are
 * left alone: the caller keeps them. */

#define UNSUPPORTED(name) \
  EXPORT nvmlReturn name(Handle handle) { \
    BEGIN_ON(handle); \
    return finish(NOT_SUPPORTED); \
  }
UNSUPPORTED(nvmlDeviceGetBAR1MemoryInfo)
UNSUPPORTED(nvmlDeviceGetComputeMode)
UNSUPPORTED(nvmlDeviceGetDecoderUtilization)
UNSUPPORTED(nvmlDeviceGetDisplayActive)
UNSUPPORTED(nvmlDeviceGetEncoderUtilization)
UNSUPPORTED(nvmlDeviceGetFanSpeed)
UNSUPPORTED(nvmlDeviceGetPerformanceState)
UNSUPPORTED(nvmlDeviceGetPersistenceMode)

EXPORT nvmlReturn nvmlDeviceGetIndex(Handle handle, unsigned *index) {
  BEGIN_ON(handle);
  *index = (unsigned)c.gpu;
  return finish(SUCCESS);
}

EXPORT nvmlReturn nvmlDeviceGetPowerManagementLimit(Handle handle, unsigned *milliwatts) {
  BEGIN_ON(handle);
  return finish(give_number(c.device, "power_limit_mw", milliwatts));
}

static nvmlReturn no_processes(unsigned *count) {
  *count = 0;
  return SUCCESS;
}

EXPORT nvmlReturn nvmlDeviceGetGraphicsRunningProcesses_v2(Handle handle, unsigned *count) {
  BEGIN_ON(handle);
  return finish(no_processes(count));
}

EXPORT nvmlReturn nvmlDeviceGetMPSComputeRunningProcesses_v2(Handle handle, unsigned *count) {
  BEGIN_ON(handle);
  return finish(no_processes(count));
}

#ifndef OLD_DRIVER
EXPORT nvmlReturn nvmlDeviceGetGraphicsRunningProcesses_v3(Handle handle, unsigned *count) {
  BEGIN_ON(handle);
  return finish(no_processes(count));
}

EXPORT nvmlReturn nvmlDeviceGetMPSComputeRunningProcesses_v3(Handle handle, unsigned *count) {
  BEGIN_ON(handle);
  return finish(no_processes(count));
}
#endif

EXPORT nvmlReturn nvmlSystemGetCudaDriverVersion_v2(int *version) {
  BEGIN(-1);
  double value = 13000;
  json_number(scenario_root(), "cuda", &value);
  *version = (int)value;
  return finish(SUCCESS);
}

EXPORT nvmlReturn nvmlSystemGetCudaDriverVersion(int *version) { return nvmlSystemGetCudaDriverVersion_v2(version); }
