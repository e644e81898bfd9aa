// libsodium, and what Swift cannot import of it: the streaming state of BLAKE2b is over-aligned, so its uses
// (a digest of two pieces, without copying them together; the same with a key) are here.
#ifndef HOTARU_CSODIUM_SHIM_H
#define HOTARU_CSODIUM_SHIM_H
#ifdef HOTARU_NULL_CIPHER
#include <sodium/core.h>
#include <sodium/crypto_generichash_blake2b.h>
#include <sodium/crypto_pwhash.h>
#include <sodium/crypto_shorthash.h>
#include <sodium/utils.h>
#define HOTARU_CIPHER_NAME "null cipher"
#else
#include <sodium.h>
#define HOTARU_CIPHER_NAME "ChaCha20-Poly1305"
#endif

#ifdef HOTARU_NULL_CIPHER
#include "null_cipher.h"
#else
static inline void hotaru_blake2b(
    void *out, size_t out_bytes, const void *key, size_t key_bytes, const void *first, size_t first_bytes,
    const void *second, size_t second_bytes) {
  crypto_generichash_blake2b_state state;
  crypto_generichash_blake2b_init(&state, (const unsigned char *)key, key_bytes, out_bytes);
  crypto_generichash_blake2b_update(&state, (const unsigned char *)first, first_bytes);
  crypto_generichash_blake2b_update(&state, (const unsigned char *)second, second_bytes);
  crypto_generichash_blake2b_final(&state, (unsigned char *)out, out_bytes);
}
#endif

#endif
