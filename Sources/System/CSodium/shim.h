// libsodium, and what Swift cannot import of it: the streaming state of BLAKE2b is over-aligned, so the one
// use of it (a digest of two pieces, without copying them together) is here.
#ifndef HOTARU_CSODIUM_SHIM_H
#define HOTARU_CSODIUM_SHIM_H
#include <sodium.h>

static inline void hotaru_blake2b_256(
    void *out, const void *first, size_t first_bytes, const void *second, size_t second_bytes) {
  crypto_generichash_blake2b_state state;
  crypto_generichash_blake2b_init(&state, NULL, 0, 32);
  crypto_generichash_blake2b_update(&state, (const unsigned char *)first, first_bytes);
  crypto_generichash_blake2b_update(&state, (const unsigned char *)second, second_bytes);
  crypto_generichash_blake2b_final(&state, (unsigned char *)out, 32);
}

#endif
