// Which modules' coverage libFuzzer looks at. After each input it goes through the counters of everything that it was told
// of, which for a decoder of a microsecond would be most of the time if that were the whole node.

#include <stdint.h>
#include <string.h>

void __sanitizer_cov_8bit_counters_init(uint8_t *start, uint8_t *stop);
void __sanitizer_cov_pcs_init(const uintptr_t *start, const uintptr_t *stop);

// build.mk gives the counters of each module sections of their own, so that nothing tells libFuzzer of them by itself.
#define MODULE(name)                                                     \
  extern uint8_t __start_counters_##name[], __stop_counters_##name[];    \
  extern const uintptr_t __start_places_##name[], __stop_places_##name[];
#define COVER(name)                                                      \
  if (strcmp(module, #name) == 0) {                                      \
    __sanitizer_cov_8bit_counters_init(__start_counters_##name, __stop_counters_##name); \
    __sanitizer_cov_pcs_init(__start_places_##name, __stop_places_##name); \
    return 1;                                                            \
  }
#define MODULES(each) \
  each(Wire) each(Identity) each(Coding) each(DAG) each(Store) each(Mesh) each(Node) each(Host) each(Client) each(fuzz)

MODULES(MODULE)

// Whether there is a module with this name.
int hotaru_fuzz_cover(const char *module) {
  MODULES(COVER)
  return 0;
}
