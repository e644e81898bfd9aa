// What `Host` and `hotaru` use of Linux: the headers, and shims for what Swift cannot import (macros,
// variadic functions, errno, packed structs and unions, mutable globals). Header-only: the bare ARM triples
// compile no C target. Offsets and times that are 32 or 64 bits by board cross as 64 bits.
#ifndef HOTARU_CLINUX_SHIM_H
#define HOTARU_CLINUX_SHIM_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <grp.h>
#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <malloc.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

// MARK: Errors and files

static inline int hotaru_errno(void) { return errno; }
static inline int hotaru_open(const char *path, int flags, unsigned mode) { return open(path, flags, mode); }

// Size of an open file in bytes, or -1.
static inline int64_t hotaru_size(int descriptor) {
  struct stat status;
  return fstat(descriptor, &status) == 0 ? (int64_t)status.st_size : -1;
}
// Type and permission bits of an open file, or 0.
static inline uint32_t hotaru_mode(int descriptor) {
  struct stat status;
  return fstat(descriptor, &status) == 0 ? (uint32_t)status.st_mode : 0;
}
// Type and permission bits of what is at a path, or 0 when nothing is there.
static inline uint32_t hotaru_path_mode(const char *path) {
  struct stat status;
  return stat(path, &status) == 0 ? (uint32_t)status.st_mode : 0;
}

// Columns of the terminal behind a descriptor, or 0.
static inline int hotaru_terminal_columns(int descriptor) {
  struct winsize size;
  return ioctl(descriptor, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}
// Waits until a descriptor that is not to block can be written to.
static inline void hotaru_wait_writable(int descriptor) {
  struct pollfd wait = {.fd = descriptor, .events = POLLOUT};
  poll(&wait, 1, -1);
}

// MARK: Clocks

static inline uint64_t hotaru_monotonic_microseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}
static inline uint64_t hotaru_wall_milliseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return now.tv_sec < 0 ? 0 : (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

// MARK: Arguments

static inline int hotaru_getopt(int count, char **arguments, const char *letters, const struct option *options) {
  return getopt_long(count, arguments, letters, options, NULL);
}
static inline void hotaru_getopt_start(void) {
  optind = 0;
  opterr = 0;
}
static inline const char *hotaru_getopt_value(void) { return optarg; }
static inline int hotaru_getopt_index(void) { return optind; }
static inline int hotaru_getopt_wrong(void) { return optopt; }

#endif
