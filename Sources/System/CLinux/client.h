// What the client's end of the control socket needs: `connect` takes a transparent union, which Swift cannot
// import.
#ifndef HOTARU_CLINUX_CLIENT_H
#define HOTARU_CLINUX_CLIENT_H
#include "shim.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/random.h>

// A non-blocking connection to the Unix socket at a path, or the negative error number.
static inline int hotaru_connect(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  size_t length = strlen(path);
  if (length >= sizeof(address.sun_path)) return -ENAMETOOLONG;
  memcpy(address.sun_path, path, length);
  int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (descriptor < 0) return -errno;
  if (connect(descriptor, (const struct sockaddr *)&address, sizeof(address)) == 0) return descriptor;
  int number = errno;
  close(descriptor);
  return -number;
}

// `poll` with a timeout in microseconds, or for ever.
static inline int hotaru_poll(struct pollfd *descriptors, unsigned count, uint64_t microseconds, bool for_ever) {
  struct timespec timeout = {
      .tv_sec = (time_t)(microseconds / 1000000 % 1000000), .tv_nsec = (long)(microseconds % 1000000 * 1000)};
  return ppoll(descriptors, count, for_ever ? NULL : &timeout, NULL);
}

// A descriptor that can be read when SIGINT, SIGTERM or SIGHUP has come, which from then on do nothing else.
static inline int hotaru_signal_descriptor(void) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGHUP);
  sigprocmask(SIG_BLOCK, &set, NULL);
  return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}
static inline int hotaru_take_signal(int descriptor) {
  struct signalfd_siginfo information;
  return read(descriptor, &information, sizeof(information)) > 0;
}

// Walks the names in a folder; a name is good until the next one is asked for.
static inline void *hotaru_open_folder(const char *path) { return opendir(path); }
static inline const char *hotaru_next_name(void *folder) {
  struct dirent *entry = readdir((DIR *)folder);
  return entry ? entry->d_name : NULL;
}
static inline void hotaru_close_folder(void *folder) { closedir((DIR *)folder); }

#endif
