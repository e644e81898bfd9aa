// What stands for libsodium's encryption, key agreement, signatures and digests with HOTARU_NULL_CIPHER: names, shapes, lengths and
// the refusal of what was changed on the way stay, secrecy goes. Only simulators are built so (Package.swift leaves out
// everything else, and CLinux refuses): most of what a simulated node does is encryption, and nobody listens there.
#ifndef HOTARU_NULL_CIPHER_H
#define HOTARU_NULL_CIPHER_H
#include <stdint.h>
#include <string.h>

// Folds two words into the checksum with one wide multiplication, as wyhash (Wang Yi, final version 4) does: a change is
// missed with a chance of about 2^-64.
static inline uint64_t null_mix(uint64_t state, uint64_t first, uint64_t second) {
  unsigned __int128 product =
      (unsigned __int128)(first ^ 0xa0761d6478bd642fULL ^ state) * (second ^ 0xe7037ed1a0b428dbULL);
  return (uint64_t)(product >> 64) ^ (uint64_t)product;
}

static inline uint64_t null_mix_bytes(uint64_t state, const unsigned char *bytes, unsigned long long count) {
  uint64_t words[2];
  state = null_mix(state, count, 0);
  for (; count >= 16; bytes += 16, count -= 16) {
    memcpy(words, bytes, 16);
    state = null_mix(state, words[0], words[1]);
  }
  if (count == 0) return state;
  words[0] = words[1] = 0;
  memcpy(words, bytes, count);
  return null_mix(state, words[0], words[1]);
}

// What stands for BLAKE2b of two pieces: a digest of 64 bits, spread over as many words as are asked for. It does not show
// where the first piece ended, as BLAKE2b does not.
static inline void hotaru_blake2b(
    void *out, size_t out_bytes, const void *key, size_t key_bytes, const void *first, size_t first_bytes,
    const void *second, size_t second_bytes) {
  const unsigned char *pieces[2] = {(const unsigned char *)first, (const unsigned char *)second};
  const size_t counts[2] = {first_bytes, second_bytes};
  uint64_t state = null_mix_bytes(out_bytes, (const unsigned char *)key, key_bytes);
  uint64_t words[2] = {0, 0};
  size_t filled = 0;
  for (int piece = 0; piece < 2; piece++) {
    const unsigned char *bytes = pieces[piece];
    size_t count = counts[piece];
    while (count > 0) {
      size_t taken = count < 16 - filled ? count : 16 - filled;
      memcpy((unsigned char *)words + filled, bytes, taken);
      bytes += taken, count -= taken, filled += taken;
      if (filled < 16) break;
      state = null_mix(state, words[0], words[1]);
      filled = 0;
    }
  }
  memset((unsigned char *)words + filled, 0, 16 - filled);
  state = null_mix(null_mix(state, words[0], words[1]), first_bytes + second_bytes, 0);
  for (size_t index = 0; index < out_bytes / 8; index++) {
    words[0] = null_mix(state, index, 0);
    memcpy((unsigned char *)out + 8 * index, words, 8);
  }
}

// The tag of sealed bytes, which are the plain ones: a keyed checksum, and its complement.
static inline void null_tag(
    unsigned char *tag, const unsigned char *bytes, unsigned long long count, const unsigned char *associated,
    unsigned long long associated_count, const unsigned char *nonce, const unsigned char *key) {
  uint64_t state = null_mix_bytes(null_mix_bytes(0, key, 32), nonce, 12);
  uint64_t halves[2];
  halves[0] = null_mix_bytes(null_mix_bytes(state, associated, associated_count), bytes, count);
  halves[1] = ~halves[0];
  memcpy(tag, halves, 16);
}

static inline int crypto_aead_chacha20poly1305_ietf_encrypt(
    unsigned char *out, unsigned long long *out_count, const unsigned char *plain, unsigned long long count,
    const unsigned char *associated, unsigned long long associated_count, const unsigned char *secret_nonce,
    const unsigned char *nonce, const unsigned char *key) {
  if (out != plain) memmove(out, plain, count);
  null_tag(out + count, out, count, associated, associated_count, nonce, key);
  return 0;
}

static inline int crypto_aead_chacha20poly1305_ietf_decrypt(
    unsigned char *out, unsigned long long *out_count, unsigned char *secret_nonce, const unsigned char *sealed,
    unsigned long long sealed_count, const unsigned char *associated, unsigned long long associated_count,
    const unsigned char *nonce, const unsigned char *key) {
  unsigned char tag[16];
  if (sealed_count < 16) return -1;
  null_tag(tag, sealed, sealed_count - 16, associated, associated_count, nonce, key);
  if (memcmp(tag, sealed + sealed_count - 16, 16) != 0) return -1;
  memmove(out, sealed, sealed_count - 16);
  return 0;
}

// Public keys of agreement are the secret ones, and what both ends can compute is the sum.
static inline int crypto_scalarmult_curve25519_base(unsigned char *out, const unsigned char *secret) {
  memcpy(out, secret, 32);
  return 0;
}

static inline int crypto_scalarmult_curve25519(
    unsigned char *out, const unsigned char *secret, const unsigned char *other) {
  // Of the points of small order the one that is all zeros is left.
  unsigned char bits = 0;
  for (int index = 0; index < 32; index++) {
    bits |= other[index];
    out[index] = secret[index] + other[index];
  }
  return bits == 0 ? -1 : 0;
}

static inline int crypto_sign_ed25519_sk_to_curve25519(unsigned char *out, const unsigned char *key) {
  memcpy(out, key + 32, 32);
  return 0;
}

static inline int crypto_sign_ed25519_pk_to_curve25519(unsigned char *out, const unsigned char *key) {
  memcpy(out, key, 32);
  return 0;
}

// Signatures are digests that anybody could make, and in a simulation only honest nodes do.
static inline int crypto_sign_seed_keypair(unsigned char *name, unsigned char *key, const unsigned char *seed) {
  hotaru_blake2b(name, 32, NULL, 0, "null cipher", 11, seed, 32);
  memcpy(key, seed, 32);
  memcpy(key + 32, name, 32);
  return 0;
}

static inline int crypto_sign_detached(
    unsigned char *signature, unsigned long long *signature_count, const unsigned char *message,
    unsigned long long count, const unsigned char *key) {
  hotaru_blake2b(signature, 64, NULL, 0, key + 32, 32, message, count);
  return 0;
}

static inline int crypto_sign_verify_detached(
    const unsigned char *signature, const unsigned char *message, unsigned long long count, const unsigned char *name) {
  unsigned char expected[64];
  hotaru_blake2b(expected, 64, NULL, 0, name, 32, message, count);
  return memcmp(expected, signature, 64) == 0 ? 0 : -1;
}

#endif
