// What the bench of sessions needs of Linux besides `CLinux`.
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static inline int64_t bench_nanoseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}
// Another process, which ends with this one; 0 in the other.
static inline int bench_fork(void) {
  int child = fork();
  if (child == 0) prctl(PR_SET_PDEATHSIG, SIGKILL);
  return child;
}
static inline void bench_end(int child) {
  kill(child, SIGKILL);
  waitpid(child, 0, 0);
}
// Keeps the calling process on one processor.
static inline void bench_pin(int processor) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(processor, &set);
  sched_setaffinity(0, sizeof set, &set);
}
// A counter that this process and those that it forks share.
static inline uint64_t *bench_counter(void) {
  return mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}
static inline uint64_t bench_load(const uint64_t *counter) { return __atomic_load_n(counter, __ATOMIC_RELAXED); }
static inline void bench_store(uint64_t *counter, uint64_t value) {
  __atomic_store_n(counter, value, __ATOMIC_RELAXED);
}
static inline void bench_wait(int descriptor, int events) {
  struct pollfd wait = {.fd = descriptor, .events = (short)events};
  poll(&wait, 1, 100);
}
