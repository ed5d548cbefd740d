/* libcuda.so.1 without a GPU: enough of the CUDA driver to list the GPUs of the scenario, and no more (no contexts).
 *
 * Names, argument lists and constants are those of NVIDIA's cuda.h. As the driver does it, devices are numbered fastest
 * first (here: by the GPU's `cuda_rank`), or by PCI address with CUDA_DEVICE_ORDER=PCI_BUS_ID; CUDA_VISIBLE_DEVICES
 * picks from them by number or by UUID (or the beginning of one), and its first entry that is none hides itself and
 * all that follow. A GPU in MIG mode is one device: its first slice, or the one named by its UUID. */
#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "scenario.h"

#define EXPORT __attribute__((visibility("default")))

typedef int Result;
typedef int Device;
enum { OK = 0, BAD_VALUE = 1, NOT_INITIALIZED = 3, NO_DEVICE = 100, INVALID_DEVICE = 101 };
/* CUdevice_attribute */
enum { PCI_BUS = 33, PCI_SLOT = 34, PCI_DOMAIN = 50, CAPABILITY_MAJOR = 75, CAPABILITY_MINOR = 76, MULTIPROCESSORS = 16 };

typedef struct { int gpu, slice; } Place; /* slice -1: the whole GPU */

static Place places[MAX_GPUS];
static int count = -1;

static const Json *board(int gpu) { return json_at(json_get(scenario_root(), "gpus"), (size_t)gpu); }
static const Json *slice_of(Place p) { return p.slice < 0 ? NULL : json_at(json_get(board(p.gpu), "mig"), (size_t)p.slice); }

static double number(const Json *object, const char *key, double otherwise) {
  double value = otherwise;
  json_number(object, key, &value);
  return value;
}

static int slices(int gpu) {
  const Json *list = json_get(board(gpu), "mig");
  return list && list->type == JSON_ARRAY ? (int)json_size(list) : 0;
}

static Place whole(int gpu) { return (Place){gpu, slices(gpu) ? 0 : -1}; }

static int starts(const char *uuid, const char *entry, size_t length) { return !strncasecmp(uuid, entry, length); }

/* The place that an entry of CUDA_VISIBLE_DEVICES means; gpu -1 where it means none, or more than one. */
static Place meant(const char *entry, size_t length, const int *order, int gpus) {
  Place found = {-1, -1};
  if (length && isdigit((unsigned char)*entry)) {
    long index = strtol(entry, NULL, 10);
    return index < gpus ? whole(order[index]) : found;
  }
  for (int gpu = 0, hits = 0; length > 4 && gpu < gpus; gpu++) {
    Place candidate = {-1, -1};
    if (starts(json_text(board(gpu), "uuid", ""), entry, length)) candidate = whole(gpu);
    for (int i = 0; i < slices(gpu); i++)
      if (starts(json_text(slice_of((Place){gpu, i}), "uuid", ""), entry, length)) candidate = (Place){gpu, i};
    if (candidate.gpu < 0) continue;
    if (hits++) return (Place){-1, -1};
    found = candidate;
  }
  return found;
}

static void enumerate(void) {
  int gpus = (int)json_size(json_get(scenario_root(), "gpus")), order[MAX_GPUS];
  if (gpus > MAX_GPUS) gpus = MAX_GPUS;
  for (int i = 0; i < gpus; i++) order[i] = i;
  const char *rule = getenv("CUDA_DEVICE_ORDER"), *visible = getenv("CUDA_VISIBLE_DEVICES");
  for (int i = 1; i < gpus && !(rule && !strcmp(rule, "PCI_BUS_ID")); i++)
    for (int j = i; j > 0 && number(board(order[j]), "cuda_rank", order[j]) < number(board(order[j - 1]), "cuda_rank", order[j - 1]); j--) {
      int swapped = order[j];
      order[j] = order[j - 1];
      order[j - 1] = swapped;
    }
  count = 0;
  if (!visible) {
    for (int i = 0; i < gpus; i++) places[count++] = whole(order[i]);
    return;
  }
  for (const char *entry = visible; *entry && count < MAX_GPUS;) {
    size_t length = strcspn(entry, ",");
    Place place = meant(entry, length, order, gpus);
    if (place.gpu < 0) return;
    places[count++] = place;
    entry += length + (entry[length] == ',');
  }
}

EXPORT Result cuInit(unsigned flags) {
  (void)flags;
  Result code = (Result)scenario_enter("cuInit", -1);
  if (!code) enumerate();
  scenario_leave();
  return code ? code : count ? OK : NO_DEVICE;
}

EXPORT Result cuDriverGetVersion(int *version) {
  Result code = (Result)scenario_enter("cuDriverGetVersion", -1);
  if (!code) *version = (int)number(scenario_root(), "cuda", 13000);
  scenario_leave();
  return code;
}

EXPORT Result cuDeviceGetCount(int *out) {
  if (count < 0) return NOT_INITIALIZED;
  *out = count;
  return OK;
}

EXPORT Result cuDeviceGet(Device *out, int ordinal) {
  if (count < 0) return NOT_INITIALIZED;
  if (ordinal < 0 || ordinal >= count) return INVALID_DEVICE;
  *out = ordinal;
  return OK;
}

static Result enter(const char *call, Device device) {
  if (count < 0) return NOT_INITIALIZED;
  if (device < 0 || device >= count) return INVALID_DEVICE;
  Result code = (Result)scenario_enter(call, places[device].gpu);
  if (code) scenario_leave();
  return code;
}

#define ENTER(device) Result code = enter(__func__, device); if (code) return code

static Result leave(Result code) {
  scenario_leave();
  return code;
}

EXPORT Result cuDeviceGetName(char *out, int length, Device device) {
  ENTER(device);
  const Json *part = slice_of(places[device]);
  snprintf(out, (size_t)length, "%s", json_text(part ? part : board(places[device].gpu), "name", ""));
  return leave(OK);
}

static void address(Place place, unsigned *domain, unsigned *bus, unsigned *slot) {
  *domain = *bus = *slot = 0;
  sscanf(json_text(board(place.gpu), "pci", ""), "%x:%x:%x", domain, bus, slot);
}

EXPORT Result cuDeviceGetPCIBusId(char *out, int length, Device device) {
  unsigned domain, bus, slot;
  ENTER(device);
  address(places[device], &domain, &bus, &slot);
  snprintf(out, (size_t)length, "%04x:%02x:%02x.0", domain, bus, slot);
  return leave(OK);
}

static Result give_uuid(const Json *object, unsigned char *out) {
  const char *text = json_text(object, "uuid", "");
  memset(out, 0, 16);
  int done = 0;
  for (text += strcspn(text, "-"); *text && done < 16;) {
    unsigned byte;
    if (*text == '-') text++;
    else if (sscanf(text, "%2x", &byte) == 1) out[done++] = (unsigned char)byte, text += 2;
    else break;
  }
  return done == 16 ? OK : BAD_VALUE;
}

EXPORT Result cuDeviceGetUuid(unsigned char *out, Device device) {
  ENTER(device);
  return leave(give_uuid(board(places[device].gpu), out));
}

/* Of a MIG slice, its own. */
EXPORT Result cuDeviceGetUuid_v2(unsigned char *out, Device device) {
  ENTER(device);
  const Json *part = slice_of(places[device]);
  return leave(give_uuid(part ? part : board(places[device].gpu), out));
}

EXPORT Result cuDeviceTotalMem_v2(size_t *out, Device device) {
  ENTER(device);
  const Json *part = slice_of(places[device]);
  *out = (size_t)(number(part ? part : board(places[device].gpu), "memory_total_mib", 0) * 1048576);
  return leave(OK);
}

EXPORT Result cuDeviceGetAttribute(int *out, int attribute, Device device) {
  unsigned domain, bus, slot;
  ENTER(device);
  const Json *capability = json_get(board(places[device].gpu), "capability");
  const Json *major = json_at(capability, 0), *minor = json_at(capability, 1);
  address(places[device], &domain, &bus, &slot);
  *out = attribute == CAPABILITY_MAJOR   ? (major ? (int)major->number : 9)
         : attribute == CAPABILITY_MINOR ? (minor ? (int)minor->number : 0)
         : attribute == MULTIPROCESSORS  ? 132
         : attribute == PCI_BUS          ? (int)bus
         : attribute == PCI_SLOT         ? (int)slot
         : attribute == PCI_DOMAIN       ? (int)domain
                                         : 0;
  return leave(OK);
}

static const struct { Result code; const char *name, *words; } errors[] = {
    {OK, "CUDA_SUCCESS", "no error"},
    {NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {34, "CUDA_ERROR_STUB_LIBRARY", "CUDA driver is a stub library"},
    {NO_DEVICE, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {803, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", "system has unsupported display driver / cuda driver combination"},
    {999, "CUDA_ERROR_UNKNOWN", "unknown error"},
};

static int row(Result code) {
  int last = sizeof errors / sizeof *errors - 1;
  for (int i = 0; i < last; i++)
    if (errors[i].code == code) return i;
  return last;
}

EXPORT Result cuGetErrorName(Result code, const char **out) { return *out = errors[row(code)].name, OK; }
EXPORT Result cuGetErrorString(Result code, const char **out) { return *out = errors[row(code)].words, OK; }
