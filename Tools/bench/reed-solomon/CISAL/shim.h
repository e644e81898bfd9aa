// ISA-L and a clock, for the bench alone: the product does not use them.
#include <isa-l/erasure_code.h>
#include <stdlib.h>
#include <time.h>

static inline long long hotaru_nanoseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}
