/* What AVX2 does better than forest_planes_portable.h: the comparison. */
#include <immintrin.h>

#define TARGET_AVX2 __attribute__((target("avx2")))

/* A macro, not a function of the predicate: some compilers want a literal there. */
#define COMPARE_BY_AVX2(PREDICATE)                                                                              \
  for (size_t test = 0; test < n; test++, plane += words_a_plane) {                                             \
    __m256 limit = _mm256_set1_ps(threshold[test]);                                                             \
    for (size_t word = 0; word < n_words; word++) {                                                             \
      uint64_t bits = 0;                                                                                        \
      for (int i = 0; i < 8; i++) {                                                                             \
        __m256 right = _mm256_cmp_ps(_mm256_loadu_ps(column + 64 * word + 8 * i), limit, PREDICATE);            \
        bits |= (uint64_t)(uint32_t)_mm256_movemask_ps(right) << 8 * i;                                         \
      }                                                                                                         \
      plane[word] = bits;                                                                                       \
    }                                                                                                           \
  }

TARGET_AVX2 static void compare_avx2(const float *column, const float *threshold, size_t n, int nan_goes_right,
                                     size_t n_words, uint64_t *plane, size_t words_a_plane) {
  if (nan_goes_right) {
    COMPARE_BY_AVX2(_CMP_NLE_UQ)
  } else {
    COMPARE_BY_AVX2(_CMP_GT_OQ)
  }
}
