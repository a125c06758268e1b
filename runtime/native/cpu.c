/* Which instruction sets this processor has. */
#include "lsd_native.h"

int lsd_abi_version(void) { return LSD_ABI_VERSION; }

int lsd_has_isa(int isa) {
  switch (isa) {
    case LSD_ISA_BEST:
    case LSD_ISA_PORTABLE:
      return 1;
#if defined(__x86_64__)
    case LSD_ISA_AVX2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("popcnt");
    case LSD_ISA_AVX512: /* the subsets of a Skylake server, which every later AVX-512 processor has */
      return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
             __builtin_cpu_supports("popcnt");
#endif
#if defined(__aarch64__)
    case LSD_ISA_NEON: /* part of every aarch64 */
      return 1;
#endif
    default:
      return 0;
  }
}

int lsd_best_isa(void) {
  for (int isa = LSD_ISA_NEON; isa > LSD_ISA_PORTABLE; isa--)
    if (lsd_has_isa(isa)) return isa;
  return LSD_ISA_PORTABLE;
}
