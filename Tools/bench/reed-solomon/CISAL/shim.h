// ISA-L and a clock, for the bench alone: the product does not use them.
#include <isa-l/erasure_code.h>
#include <stdlib.h>
#include <time.h>

// ISA-L's functions leave the upper halves of the vector registers in use. Code for the baseline of x86-64 then runs
// at a quarter of its speed (seen on Zen 4), for as long as nobody clears them: compilers do it behind such code.
static inline void hotaru_clear_upper_halves(void) {
#ifdef __x86_64__
  if (__builtin_cpu_supports("avx")) __asm__ volatile("vzeroupper");
#endif
}

static inline long long hotaru_nanoseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}
