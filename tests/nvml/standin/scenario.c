#define _GNU_SOURCE
#include "scenario.h"

#include <fcntl.h>
#include <fnmatch.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static Json *root;
static struct stat seen;

static int changed(const struct stat *now) {
  return now->st_ino != seen.st_ino || now->st_size != seen.st_size || now->st_mtim.tv_sec != seen.st_mtim.tv_sec ||
         now->st_mtim.tv_nsec != seen.st_mtim.tv_nsec;
}

static char *read_all(int file, size_t size) {
  char *text = malloc(size + 1);
  size_t have = 0;
  ssize_t got;
  while (have < size && (got = read(file, text + have, size - have)) > 0) have += (size_t)got;
  text[have] = 0;
  return text;
}

/* Where the file is gone, or is no JSON, the last good scenario goes on. */
static void reload(void) {
  const char *path = getenv("NVML_SIM");
  struct stat now;
  if (!path || stat(path, &now) || !changed(&now)) return;
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return;
  if (!fstat(file, &now)) {
    char *text = read_all(file, (size_t)now.st_size);
    Json *fresh = json_parse(text);
    free(text);
    if (fresh) {
      json_free(root);
      root = fresh;
    } else {
      fprintf(stderr, "nvml stand-in: %s is no JSON; the last scenario goes on\n", path);
    }
    seen = now;
  }
  close(file);
}

static int matches(const Json *fault, const char *call, int gpu) {
  double wanted;
  if (json_number(fault, "gpu", &wanted) && (int)wanted != gpu) return 0;
  return !fnmatch(json_text(fault, "call", "*"), call, 0);
}

/* The first fault that matches and has a member `kind`, whose value then is `*value`. */
static int find_fault(const char *call, int gpu, const char *kind, double *value) {
  const Json *faults = json_get(root, "faults");
  for (const Json *fault = faults ? faults->child : NULL; fault; fault = fault->next)
    if (matches(fault, call, gpu) && json_number(fault, kind, value)) return 1;
  return 0;
}

static void nap(double ms) {
  struct timespec time = {(time_t)(ms / 1e3), (long)((ms / 1e3 - (double)(time_t)(ms / 1e3)) * 1e9)};
  nanosleep(&time, NULL);
}

unsigned scenario_enter(const char *call, int gpu) {
  double value;
  pthread_mutex_lock(&lock);
  reload();
  if (find_fault(call, gpu, "crash", &value)) {
    signal(SIGSEGV, SIG_DFL);
    raise(SIGSEGV);
  }
  if (find_fault(call, gpu, "sleep_ms", &value)) {
    pthread_mutex_unlock(&lock);
    nap(value);
    pthread_mutex_lock(&lock);
  }
  while (find_fault(call, gpu, "hang", &value)) {
    pthread_mutex_unlock(&lock);
    nap(10);
    pthread_mutex_lock(&lock);
    reload();
  }
  return find_fault(call, gpu, "error", &value) ? (unsigned)value : SUCCESS;
}

void scenario_leave(void) { pthread_mutex_unlock(&lock); }

const Json *scenario_root(void) { return root; }
