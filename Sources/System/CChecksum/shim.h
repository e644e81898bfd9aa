// CRC-32C by the processor's own instruction, which Swift has no name for. Whether it is there is asked at start:
// the same program runs on processors that have it and on those that do not. And the instruction that fetches what will be
// read soon, for which Swift has no name either.
#ifndef HOTARU_CCHECKSUM_SHIM_H
#define HOTARU_CCHECKSUM_SHIM_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t hotaru_load64(const uint8_t *bytes) {
  uint64_t word;
  memcpy(&word, bytes, 8);
  return word;
}

static inline void hotaru_prefetch(const void *address) { __builtin_prefetch(address); }

#if defined(__x86_64__)
#include <cpuid.h>

static inline int hotaru_has_crc32c(void) {
  unsigned a, b, c = 0, d;
  return __get_cpuid(1, &a, &b, &c, &d) && c & bit_SSE4_2 && c & bit_PCLMUL;
}

// The state `bytes` further on, had they been zeros; `factor` is x^(8 bytes - 33) mod the polynomial, reflected.
__attribute__((target("sse4.2,pclmul"))) static inline uint64_t hotaru_shift(uint64_t state, uint64_t factor) {
  typedef long long pair __attribute__((vector_size(16)));
  pair product = __builtin_ia32_pclmulqdq128((pair){(long long)state, 0}, (pair){(long long)factor, 0}, 0);
  return __builtin_ia32_crc32di(0, (uint64_t)product[0]);
}

// The instruction takes three cycles and a new one may begin in each, so three stretches are taken at a time.
__attribute__((target("sse4.2,pclmul"))) static inline uint32_t
hotaru_crc32c(uint32_t start, const void *data, size_t count) {
  enum { STRETCH = 320 };
  const uint8_t *bytes = (const uint8_t *)data;
  uint64_t state = start;
  for (; count >= 3 * STRETCH; bytes += 3 * STRETCH, count -= 3 * STRETCH) {
    uint64_t second = 0, third = 0;
    for (int i = 0; i < STRETCH; i += 8) {
      state = __builtin_ia32_crc32di(state, hotaru_load64(bytes + i));
      second = __builtin_ia32_crc32di(second, hotaru_load64(bytes + STRETCH + i));
      third = __builtin_ia32_crc32di(third, hotaru_load64(bytes + 2 * STRETCH + i));
    }
    state = hotaru_shift(state, 0x6b749fb2) ^ hotaru_shift(second, 0xbac2fd7b) ^ third;
  }
  for (; count >= 8; bytes += 8, count -= 8) state = __builtin_ia32_crc32di(state, hotaru_load64(bytes));
  for (; count > 0; bytes++, count--) state = __builtin_ia32_crc32qi((uint32_t)state, *bytes);
  return (uint32_t)state;
}
#elif defined(__aarch64__)
unsigned long getauxval(unsigned long);

static inline int hotaru_has_crc32c(void) { return getauxval(16 /* AT_HWCAP */) >> 7 & 1; }

__attribute__((target("crc"))) static inline uint32_t
hotaru_crc32c(uint32_t state, const void *data, size_t count) {
  const uint8_t *bytes = (const uint8_t *)data;
  for (; count >= 8; bytes += 8, count -= 8) state = __builtin_arm_crc32cd(state, hotaru_load64(bytes));
  for (; count > 0; bytes++, count--) state = __builtin_arm_crc32cb(state, *bytes);
  return state;
}
#else
static inline int hotaru_has_crc32c(void) { return 0; }
static inline uint32_t hotaru_crc32c(uint32_t state, const void *data, size_t count) {
  (void)data, (void)count;
  return state;
}
#endif

#endif
