/* The scenario that the stand-in plays: a JSON file named by $NVML_SIM, read again whenever it changes. */
#ifndef STANDIN_SCENARIO_H
#define STANDIN_SCENARIO_H

#include "json.h"

enum { MAX_GPUS = 16, MAX_SLICES = 8 };

/* The parts of nvml.h's nvmlReturn_t that the stand-in decides on by itself. */
enum {
  SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7,
  DRIVER_NOT_LOADED = 9, ARGUMENT_VERSION_MISMATCH = 25
};

/* Takes the scenario's lock, reads the file again where it changed, and plays the faults that match this call
 * ("nvmlDeviceGetName") on this GPU (-1: on none): sleeps, hangs until a later scenario has no such fault, or crashes.
 * Returns the fault's error code, or SUCCESS. The lock is held afterwards in any case. */
unsigned scenario_enter(const char *call, int gpu);
void scenario_leave(void);

/* With the lock held: the whole scenario; NULL while no readable file was there yet. */
const Json *scenario_root(void);

#endif
