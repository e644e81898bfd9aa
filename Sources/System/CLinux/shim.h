// What `Host` and `hotaru` use of Linux: the headers, and shims for what Swift cannot import (macros,
// variadic functions, errno, packed structs and unions, mutable globals). Header-only: the bare ARM triples
// compile no C target. Offsets and times that are 32 or 64 bits by board cross as 64 bits.
#ifndef HOTARU_CLINUX_SHIM_H
#define HOTARU_CLINUX_SHIM_H
#ifdef HOTARU_NULL_CIPHER
#error "a node that talks to others is never built with the null cipher"
#endif
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <grp.h>
#include <ifaddrs.h>
#include <link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/udp.h>
#include <malloc.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
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
// Bytes of the file system that an open file is on, or 0.
static inline uint64_t hotaru_file_system_bytes(int descriptor) {
  struct statvfs status;
  return fstatvfs(descriptor, &status) == 0 ? (uint64_t)status.f_blocks * status.f_frsize : 0;
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

// Makes the terminal give each key at once, unseen, also the ones that end a process; or as it was. 0 or -1.
static inline int hotaru_hide_typing(int descriptor, struct termios *saved) {
  if (tcgetattr(descriptor, saved) != 0) return -1;
  struct termios hidden = *saved;
  hidden.c_lflag &= ~(tcflag_t)(ECHO | ICANON | ISIG);
  hidden.c_cc[VMIN] = 1;
  hidden.c_cc[VTIME] = 0;
  return tcsetattr(descriptor, TCSAFLUSH, &hidden);
}
static inline int hotaru_show_typing(int descriptor, const struct termios *saved) {
  return tcsetattr(descriptor, TCSAFLUSH, saved);
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

// MARK: Files whose offsets are 64 bits on every board

static inline ssize_t hotaru_pread(int descriptor, void *out, size_t count, int64_t offset) {
  return pread(descriptor, out, count, (off_t)offset);
}
static inline ssize_t hotaru_pwrite(int descriptor, const void *bytes, size_t count, int64_t offset) {
  return pwrite(descriptor, bytes, count, (off_t)offset);
}
// Reads what is in the page cache; EAGAIN when that is not all, EOPNOTSUPP or ENOSYS when nobody knows.
static inline ssize_t hotaru_pread_cached(int descriptor, void *out, size_t count, int64_t offset) {
  struct iovec part = {.iov_base = out, .iov_len = count};
  return preadv2(descriptor, &part, 1, (off_t)offset, RWF_NOWAIT);
}

// MARK: Threads

// Starts a thread that can be joined, with a stack of 128 KiB (the least that every board allows). 0 or errno.
static inline int hotaru_start_thread(pthread_t *thread, void *(*body)(void *), void *argument) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, 131072);
  int error = pthread_create(thread, &attributes, body, argument);
  pthread_attr_destroy(&attributes);
  return error;
}

// MARK: Events

struct hotaru_event {
  uint32_t events;
  uint32_t tag;
};
enum { HOTARU_READABLE = EPOLLIN, HOTARU_WRITABLE = EPOLLOUT, HOTARU_GONE = EPOLLHUP | EPOLLERR };

static inline int hotaru_epoll_control(int epoll, int operation, int descriptor, uint32_t events, uint32_t tag) {
  struct epoll_event event = {.events = events, .data = {.u32 = tag}};
  return epoll_ctl(epoll, operation, descriptor, &event);
}
// Waits for at most 16 events, without end when `waits`, else not at all.
static inline int hotaru_epoll_wait(int epoll, struct hotaru_event *out, int waits) {
  struct epoll_event events[16];
  int count = epoll_wait(epoll, events, 16, waits ? -1 : 0);
  for (int index = 0; index < count; index++) {
    out[index].events = events[index].events;
    out[index].tag = events[index].data.u32;
  }
  return count;
}
// Makes the timer due at a monotonic time in microseconds (never 0, which would switch it off).
static inline int hotaru_timer_arm(int timer, uint64_t microseconds) {
  if (microseconds == 0) microseconds = 1;
  struct itimerspec value = {.it_value = {.tv_sec = (time_t)(microseconds / 1000000),
                                          .tv_nsec = (long)(microseconds % 1000000 * 1000)}};
  return timerfd_settime(timer, TFD_TIMER_ABSTIME, &value, NULL);
}
// A descriptor that becomes readable at SIGINT and SIGTERM, which no longer end the process; SIGPIPE and SIGXFSZ
// become errors of the call that causes them.
static inline int hotaru_signals(void) {
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0) return -1;
  return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}
// Threads allocate nothing, so one arena serves all of them. Blocks of two pages and more are mapped, because
// calloc writes zeros over what it takes from the heap, and then a table that nobody uses costs its pages. That
// threshold only counts for what does not fit the heap's top, so the top is kept small.
static inline void hotaru_limit_arenas(void) {
  mallopt(M_ARENA_MAX, 1);
  mallopt(M_MMAP_THRESHOLD, 8192);
  mallopt(M_TOP_PAD, 0);
}

// MARK: Sockets

static inline int hotaru_set_option(int socket, int level, int name, int value) {
  return setsockopt(socket, level, name, &value, sizeof value);
}
static inline int hotaru_socket(int family, int kind, int protocol) {
  return socket(family, kind | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
}
// The next client of a listening socket, which does not block; -1 when none waits.
static inline int hotaru_accept(int socket) {
  return accept4(socket, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
}
// Size of a socket's send buffer; 0 when it cannot be told.
static inline int hotaru_send_buffer(int socket) {
  int size = 0;
  socklen_t length = sizeof size;
  return getsockopt(socket, SOL_SOCKET, SO_SNDBUF, &size, &length) == 0 ? size : 0;
}
// Bytes of a socket's send buffer, with their overhead, that wait for its reader.
static inline int hotaru_send_waiting(int socket) {
  int waiting = 0;
  return ioctl(socket, TIOCOUTQ, &waiting) == 0 ? waiting : 0;
}
// Makes the kernel cut what a message carries into datagrams of `size` bytes; `control` has room for that word.
enum { HOTARU_SEGMENT_BYTES = CMSG_SPACE(sizeof(uint16_t)) };
static inline void hotaru_segment(struct msghdr *message, void *control, uint16_t size) {
  struct cmsghdr *header = (struct cmsghdr *)control;
  header->cmsg_level = IPPROTO_UDP;
  header->cmsg_type = UDP_SEGMENT;
  header->cmsg_len = CMSG_LEN(sizeof size);
  memcpy(CMSG_DATA(header), &size, sizeof size);
  message->msg_control = control;
  message->msg_controllen = HOTARU_SEGMENT_BYTES;
}
static inline int hotaru_bind(int socket, const void *address, size_t length) {
  return bind(socket, (const struct sockaddr *)address, (socklen_t)length);
}
// Where a socket is bound, written to `length` bytes. 0 or -1.
static inline int hotaru_bound(int socket, void *address, size_t length) {
  socklen_t size = (socklen_t)length;
  return getsockname(socket, (struct sockaddr *)address, &size);
}
static inline int hotaru_join_group(int socket, const void *group, uint32_t interface) {
  struct ipv6_mreq request;
  memcpy(&request.ipv6mr_multiaddr, group, 16);
  request.ipv6mr_interface = interface;
  return setsockopt(socket, IPPROTO_IPV6, IPV6_JOIN_GROUP, &request, sizeof request);
}
// Listens for changes of interfaces and addresses; -1 where that is not allowed.
static inline int hotaru_interface_changes(void) {
  int result = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE);
  struct sockaddr_nl address = {
      .nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_IFADDR};
  if (result >= 0 && bind(result, (struct sockaddr *)&address, sizeof address) != 0) {
    close(result);
    result = -1;
  }
  return result;
}

// An interface with an IPv4 address; addresses with their first byte most significant.
struct hotaru_interface {
  uint32_t index;
  uint32_t flags;
  uint32_t address;
  uint32_t broadcast;
};
static inline uint32_t hotaru_interface_flags(int socket, const char *name) {
  struct ifreq request;
  memset(&request, 0, sizeof request);
  strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  return ioctl(socket, SIOCGIFFLAGS, &request) == 0 ? (uint16_t)request.ifr_flags : 0;
}
// Interfaces with IPv4 addresses, without an allocation. Their number, at most `max` and 32. Only an IPv4 socket is
// told of IPv4 addresses, so this takes one of its own.
static inline int hotaru_ipv4_interfaces(struct hotaru_interface *out, int max) {
  struct ifreq requests[32];
  struct ifconf list = {.ifc_len = sizeof requests, .ifc_req = requests};
  int socket = hotaru_socket(AF_INET, SOCK_DGRAM, 0);
  if (socket < 0) return 0;
  if (ioctl(socket, SIOCGIFCONF, &list) != 0) list.ifc_len = 0;
  int count = 0;
  for (int index = 0; index < list.ifc_len / (int)sizeof *requests && count < max; index++) {
    struct ifreq *request = &requests[index];
    struct hotaru_interface result = {0};
    result.address = ntohl(((struct sockaddr_in *)&request->ifr_addr)->sin_addr.s_addr);
    result.flags = hotaru_interface_flags(socket, request->ifr_name);
    if (ioctl(socket, SIOCGIFBRDADDR, request) == 0)
      result.broadcast = ntohl(((struct sockaddr_in *)&request->ifr_broadaddr)->sin_addr.s_addr);
    if (ioctl(socket, SIOCGIFINDEX, request) == 0) result.index = (uint32_t)request->ifr_ifindex;
    out[count++] = result;
  }
  close(socket);
  return count;
}

// Binds or connects a Unix socket; `path` may begin with '@' for the abstract names that systemd uses. 0 or errno.
static inline int hotaru_unix(int socket, const char *path, size_t length, int connects) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (length >= sizeof address.sun_path) return ENAMETOOLONG;
  memcpy(address.sun_path, path, length);
  socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + (path[0] != '@'));
  if (path[0] == '@') address.sun_path[0] = 0;
  int result = connects ? connect(socket, (struct sockaddr *)&address, size)
                        : bind(socket, (struct sockaddr *)&address, size);
  return result == 0 ? 0 : errno;
}

// MARK: Start

// Makes the pages that the program's headers name for it (RELRO) read-only. For a static program at a fixed address.
static inline void hotaru_protect_relocated(void) {
  uintptr_t page = getauxval(AT_PAGESZ);
  const ElfW(Phdr) *header = (const ElfW(Phdr) *)getauxval(AT_PHDR);
  for (unsigned long count = getauxval(AT_PHNUM); count > 0; count--, header++) {
    if (header->p_type != PT_GNU_RELRO) continue;
    uintptr_t start = header->p_vaddr & -page, end = (header->p_vaddr + header->p_memsz) & -page;
    if (start != end) mprotect((void *)start, end - start, PROT_READ);
  }
}

#endif
