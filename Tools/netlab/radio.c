// The air of the network lab: holds one end of every TAP device and carries Ethernet frames between them by rules.
//
// It makes the network namespaces too and keeps them open without names: whatever ends this process takes them along.
// Commands are lines on standard input, each answered by a line that begins with `ok` or `error`:
//
//   station                                   a new namespace; answers with its number and the descriptor that holds it
//   tap STATION                               a new device in it, up; answers with its number
//   up TAP 0|1                                takes the device down or up
//   link FROM TO LOSS DELAY JITTER RATE QUEUE DUPLICATE PERIOD DOWN
//                                             TO hears FROM: shares of frames, microseconds, bits a second (0: any),
//                                             bytes, share of frames; cut for DOWN of every PERIOD microseconds
//   cut FROM TO                               TO does not hear FROM
//   overhear TAP                              it gets what it hears of others' unicast, as a listener in range would
//   figures TAP                               frames and bytes that it has sent, UDP datagrams and payload bytes among
//                                             them, frames carried to it, and frames that no memory was left for
//
// The fate of a frame depends on the seed, the link and how many frames the link has carried since its rule was set,
// so that a run can be repeated.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { tapsMax = 64, frameBytesMax = 2048, flightsMax = 1 << 16, framesPerTurn = 32 };

struct link {
  int isHeard;
  double loss, duplicate;
  uint64_t delay, jitter, rate, queue, period, down;
  uint64_t dice, since, freeAt;
};

struct tap {
  int descriptor, station, overhears;
  char name[IFNAMSIZ];
  uint64_t frames, bytes, datagrams, payload, carried, refused;
};

struct frame {
  unsigned references, length;
  unsigned char bytes[frameBytesMax];
};

struct flight { uint64_t due, order; int to; struct frame *frame; };

static uint64_t seed, order;
static int ownNamespace, stations[tapsMax], stationCount, tapCount, flightCount;
static struct tap taps[tapsMax];
static struct link links[tapsMax][tapsMax];
// A heap by time, then by the order of departure.
static struct flight flights[flightsMax];

static uint64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000 + time.tv_nsec / 1000;
}

// A number from 0 to below 1 (splitmix64).
static double roll(uint64_t *state) {
  uint64_t bits = *state += 0x9e3779b97f4a7c15;
  bits = (bits ^ bits >> 30) * 0xbf58476d1ce4e5b9;
  bits = (bits ^ bits >> 27) * 0x94d049bb133111eb;
  return ((bits ^ bits >> 31) >> 11) * 0x1p-53;
}

// MARK: Frames on their way

static int isBefore(const struct flight *a, const struct flight *b) {
  return a->due != b->due ? a->due < b->due : a->order < b->order;
}

static void release(struct frame *frame) { if (--frame->references == 0) free(frame); }

static void depart(struct frame *frame, int to, uint64_t due) {
  if (flightCount == flightsMax) return (void)taps[to].refused++;
  frame->references++;
  struct flight flight = {due, order++, to, frame};
  int place = flightCount++;
  for (; place > 0 && isBefore(&flight, &flights[(place - 1) / 2]); place = (place - 1) / 2)
    flights[place] = flights[(place - 1) / 2];
  flights[place] = flight;
}

static void arriveFirst(void) {
  struct flight first = flights[0], last = flights[--flightCount];
  int place = 0;
  for (int child; (child = 2 * place + 1) < flightCount; place = child) {
    if (child + 1 < flightCount && isBefore(&flights[child + 1], &flights[child])) child++;
    if (isBefore(&last, &flights[child])) break;
    flights[place] = flights[child];
  }
  flights[place] = last;
  // A device that is down refuses: the frame has arrived at nobody.
  if (write(taps[first.to].descriptor, first.frame->bytes, first.frame->length) > 0) taps[first.to].carried++;
  release(first.frame);
}

// MARK: The rules

// Gives the time when the frame has left the sender, whoever hears it; 0 when it never does.
static uint64_t carry(struct frame *frame, int from, int to, uint64_t at) {
  struct link *link = &links[from][to];
  if (!link->isHeard) return at;
  // Each frame takes the same number of rolls, so that its fate does not depend on those before it.
  double loss = roll(&link->dice), jitter = roll(&link->dice), duplicate = roll(&link->dice);
  if (loss < link->loss || (link->period && (at - link->since) % link->period < link->down)) return at;
  if (link->rate) {
    if (link->freeAt < at) link->freeAt = at;
    if ((link->freeAt - at) * link->rate / 8000000 + frame->length > link->queue) return 0;
    link->freeAt += (uint64_t)frame->length * 8000000 / link->rate;
    at = link->freeAt;
  }
  uint64_t arrival = at + link->delay + (uint64_t)(jitter * link->jitter);
  depart(frame, to, arrival);
  if (duplicate < link->duplicate) depart(frame, to, arrival);
  return at;
}

static void count(struct tap *tap, const unsigned char *bytes, unsigned length) {
  tap->frames++;
  tap->bytes += length;
  unsigned head = bytes[12] == 0x86 && bytes[13] == 0xdd ? 54 : bytes[12] == 8 && bytes[13] == 0 ? 34 : length;
  if (length < head + 8 || bytes[head == 54 ? 20 : 23] != IPPROTO_UDP) return;
  tap->datagrams++;
  tap->payload += (bytes[head + 4] << 8 | bytes[head + 5]) - 8;
}

// Everything that a device has sent, up to a turn's share.
static void take(int from, uint64_t at) {
  static const unsigned char prefix[5] = {2, 0, 0, 0, 0};
  for (int turn = 0; turn < framesPerTurn; turn++) {
    struct frame *frame = malloc(sizeof *frame);
    if (!frame) abort();
    unsigned char *bytes = frame->bytes;
    ssize_t length = read(taps[from].descriptor, bytes, frameBytesMax);
    if (length < 14) return free(frame);
    frame->references = 1;
    count(&taps[from], bytes, frame->length = length);
    int isForAll = bytes[0] & 1, only = memcmp(bytes, prefix, 5) == 0 ? bytes[5] : -1;
    // A listener hears what is in the air, not what waits before the link of whom it is for.
    uint64_t leftAt = only >= 0 && only < tapCount && only != from ? carry(frame, from, only, at) : at;
    for (int to = 0; leftAt && to < tapCount; to++)
      if (to != from && to != only && (isForAll || taps[to].overhears)) carry(frame, from, to, leftAt);
    release(frame);
  }
}

// MARK: Stations and devices

static void enter(int namespace) { if (setns(namespace, CLONE_NEWNET)) abort(); }

// Back to where this process began, with the result of what was done elsewhere and its error.
static int comeBack(int result) {
  int error = errno;
  enter(ownNamespace);
  return errno = error, result;
}

static int setZero(const char *path) {
  int file = open(path, O_WRONLY | O_CLOEXEC), result = write(file, "0", 1) == 1 ? 0 : -1;
  close(file);
  return result;
}

// In the namespace of the device.
static int setUp(const char *name, int isUp) {
  struct ifreq request = {0};
  strcpy(request.ifr_name, name);
  int file = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), result = ioctl(file, SIOCGIFFLAGS, &request);
  request.ifr_flags = isUp ? request.ifr_flags | IFF_UP : request.ifr_flags & ~IFF_UP;
  if (!result) result = ioctl(file, SIOCSIFFLAGS, &request);
  close(file);
  return result;
}

static int addStation(void) {
  if (stationCount == tapsMax) return errno = ENOSPC, -1;
  if (unshare(CLONE_NEWNET)) return -1;
  // An address can be used at once, without asking whether somebody else has it; nobody here is a router.
  int result = setZero("/proc/sys/net/ipv6/conf/default/accept_dad");
  if (!result) result = setZero("/proc/sys/net/ipv6/conf/default/router_solicitations");
  if (!result) result = setUp("lo", 1);
  if (!result) result = stations[stationCount] = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
  return comeBack(result) < 0 ? -1 : stationCount++;
}

static int address(int file, struct ifreq *request, unsigned long what, uint32_t value) {
  struct sockaddr_in *socket = (struct sockaddr_in *)&request->ifr_addr;
  *socket = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(value)};
  return ioctl(file, what, request);
}

// The hardware address ends in the device's number, the IPv4 address in the number plus one: 10.71.0.1/16, the
// second device of a station 10.72.0.2/16.
static int openDevice(struct tap *tap, int number, int ordinal) {
  struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
  snprintf(tap->name, sizeof tap->name, "radio%d", ordinal);
  strcpy(request.ifr_name, tap->name);
  tap->descriptor = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (tap->descriptor < 0 || ioctl(tap->descriptor, TUNSETIFF, &request)) return -1;
  int file = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  request.ifr_hwaddr = (struct sockaddr){.sa_family = ARPHRD_ETHER, .sa_data = {2, 0, 0, 0, 0, (char)number}};
  int result = ioctl(file, SIOCSIFHWADDR, &request);
  uint32_t network = (10u << 24) + ((71u + ordinal) << 16);
  if (!result) result = address(file, &request, SIOCSIFADDR, network + number + 1);
  if (!result) result = address(file, &request, SIOCSIFNETMASK, 0xffff0000);
  if (!result) result = address(file, &request, SIOCSIFBRDADDR, network + 0xffff);
  close(file);
  return result ? result : setUp(tap->name, 1);
}

static int addTap(int station) {
  if (station < 0 || station >= stationCount || tapCount == tapsMax) return errno = EINVAL, -1;
  struct tap *tap = &taps[tapCount];
  *tap = (struct tap){.station = station};
  int ordinal = 0;
  for (int other = 0; other < tapCount; other++) ordinal += taps[other].station == station;
  enter(stations[station]);
  return comeBack(openDevice(tap, tapCount, ordinal)) < 0 ? -1 : tapCount++;
}

// MARK: Commands

static int isTap(int number) { return number >= 0 && number < tapCount; }

static void obey(const char *line) {
  int a = -1, b = -1;
  struct link rule = {.isHeard = 1};
  if (strcmp(line, "station") == 0) {
    if ((a = addStation()) >= 0) return (void)printf("ok %d %d\n", a, stations[a]);
  } else if (sscanf(line, "tap %d", &a) == 1) {
    if ((b = addTap(a)) >= 0) return (void)printf("ok %d\n", b);
  } else if (sscanf(line, "up %d %d", &a, &b) == 2 && isTap(a)) {
    enter(stations[taps[a].station]);
    if (comeBack(setUp(taps[a].name, b)) == 0) return (void)puts("ok");
  } else if (sscanf(line, "link %d %d %lf %lu %lu %lu %lu %lf %lu %lu", &a, &b, &rule.loss, &rule.delay, &rule.jitter,
                    &rule.rate, &rule.queue, &rule.duplicate, &rule.period, &rule.down) == 10 && isTap(a) && isTap(b)) {
    rule.dice = seed ^ ((uint64_t)(a * tapsMax + b + 1) << 40);
    rule.since = now();
    return links[a][b] = rule, (void)puts("ok");
  } else if (sscanf(line, "cut %d %d", &a, &b) == 2 && isTap(a) && isTap(b)) {
    return links[a][b].isHeard = 0, (void)puts("ok");
  } else if (sscanf(line, "overhear %d", &a) == 1 && isTap(a)) {
    return taps[a].overhears = 1, (void)puts("ok");
  } else if (sscanf(line, "figures %d", &a) == 1 && isTap(a)) {
    return (void)printf("ok %lu %lu %lu %lu %lu %lu\n", taps[a].frames, taps[a].bytes, taps[a].datagrams,
                        taps[a].payload, taps[a].carried, taps[a].refused);
  } else {
    errno = EINVAL;
  }
  printf("error %s: %s\n", line, strerror(errno));
}

// False at the end of standard input.
static int takeCommands(void) {
  static char text[4096];
  static size_t length;
  ssize_t count = read(STDIN_FILENO, text + length, sizeof text - length);
  if (count <= 0) return 0;
  length += count;
  char *line = text, *end;
  for (; (end = memchr(line, '\n', text + length - line)); line = end + 1) {
    *end = 0;
    obey(line);
  }
  length -= line - text;
  memmove(text, line, length);
  fflush(stdout);
  return length < sizeof text;
}

int main(int count, char **arguments) {
  if (count != 2) return 2;
  seed = strtoull(arguments[1], NULL, 10) * 0xd1342543de82ef95;
  ownNamespace = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
  struct pollfd watched[tapsMax + 1] = {{.fd = STDIN_FILENO, .events = POLLIN}};
  while (1) {
    for (int tap = 0; tap < tapCount; tap++)
      watched[tap + 1] = (struct pollfd){.fd = taps[tap].descriptor, .events = POLLIN};
    uint64_t at = now(), wait = flightCount == 0 ? 0 : flights[0].due > at ? flights[0].due - at : 0;
    struct timespec timeout = {wait / 1000000, wait % 1000000 * 1000};
    int known = tapCount;
    if (ppoll(watched, known + 1, flightCount ? &timeout : NULL, NULL) < 0 && errno != EINTR) return 1;
    at = now();
    for (int tap = 0; tap < known; tap++)
      if (watched[tap + 1].revents & POLLIN) take(tap, at);
    for (at = now(); flightCount && flights[0].due <= at;) arriveFirst();
    if (watched[0].revents && !takeCommands()) return 0;
  }
}
