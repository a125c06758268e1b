/* The parts of forest_planes.h in AVX-512. Leaves are looked up in registers: a permutation finds eight doubles or
 * sixteen floats at once, where a gather would load them one by one. */
#include <immintrin.h>

#define TARGET_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))
#define INLINE_AVX512 TARGET_AVX512 static inline __attribute__((always_inline))

_Static_assert(COLUMNS == 16, "a vector of a row, and of a column");

/* Sixteen rows at a time, in registers: first blocks of 4 x 4 within the quarters of vectors, then the quarters. */
TARGET_AVX512 static void transpose_avx512(const float *rows, size_t n, size_t n_features, size_t width, float *columns,
                                           size_t floats_a_column) {
  const __mmask16 used = (__mmask16)((1u << width) - 1);
  for (size_t row = 0; row < n; row += 16) {
    __m512 a[16], b[16];
    for (size_t i = 0; i < 16; i++)
      a[i] = row + i < n ? _mm512_maskz_loadu_ps(used, rows + (row + i) * n_features) : _mm512_setzero_ps();
    for (int i = 0; i < 16; i += 2) {
      b[i] = _mm512_unpacklo_ps(a[i], a[i + 1]);
      b[i + 1] = _mm512_unpackhi_ps(a[i], a[i + 1]);
    }
    for (int i = 0; i < 16; i += 4)
      for (int j = 0; j < 2; j++) {
        __m512d low = _mm512_castps_pd(b[i + j]), high = _mm512_castps_pd(b[i + j + 2]);
        a[i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, high));
        a[i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, high));
      }
    for (size_t i = 0; i < 4; i++) { /* quarter q of a[4 * k + i]: rows 4 * k to 4 * k + 3 of column 4 * q + i */
      __m512 even_low = _mm512_shuffle_f32x4(a[i], a[4 + i], 0x88);
      __m512 odd_low = _mm512_shuffle_f32x4(a[i], a[4 + i], 0xdd);
      __m512 even_high = _mm512_shuffle_f32x4(a[8 + i], a[12 + i], 0x88);
      __m512 odd_high = _mm512_shuffle_f32x4(a[8 + i], a[12 + i], 0xdd);
      float *to = columns + i * floats_a_column + row;
      _mm512_storeu_ps(to, _mm512_shuffle_f32x4(even_low, even_high, 0x88));
      _mm512_storeu_ps(to + 4 * floats_a_column, _mm512_shuffle_f32x4(odd_low, odd_high, 0x88));
      _mm512_storeu_ps(to + 8 * floats_a_column, _mm512_shuffle_f32x4(even_low, even_high, 0xdd));
      _mm512_storeu_ps(to + 12 * floats_a_column, _mm512_shuffle_f32x4(odd_low, odd_high, 0xdd));
    }
  }
}

/* The limit comes first, so that the values may stay in memory. A macro, not a function of the predicate: some
 * compilers want a literal there. */
#define COMPARE_BY_AVX512(PREDICATE)                                                                            \
  for (size_t test = 0; test < n; test++, plane += words_a_plane) {                                             \
    __m512 limit = _mm512_set1_ps(threshold[test]);                                                             \
    for (size_t word = 0; word < n_words; word++) {                                                             \
      const float *values = column + 64 * word;                                                                 \
      __mmask16 a = _mm512_cmp_ps_mask(limit, _mm512_loadu_ps(values), PREDICATE);                              \
      __mmask16 b = _mm512_cmp_ps_mask(limit, _mm512_loadu_ps(values + 16), PREDICATE);                         \
      __mmask16 c = _mm512_cmp_ps_mask(limit, _mm512_loadu_ps(values + 32), PREDICATE);                         \
      __mmask16 d = _mm512_cmp_ps_mask(limit, _mm512_loadu_ps(values + 48), PREDICATE);                         \
      plane[word] = _mm512_kunpackd(_mm512_kunpackw(d, c), _mm512_kunpackw(b, a));                              \
    }                                                                                                           \
  }

/* Right is: not (limit >= value), NaN included, or limit < value. */
TARGET_AVX512 static void compare_avx512(const float *column, const float *threshold, size_t n, int nan_goes_right,
                                         size_t n_words, uint64_t *plane, size_t words_a_plane) {
  if (nan_goes_right) {
    COMPARE_BY_AVX512(_CMP_NGE_UQ)
  } else {
    COMPARE_BY_AVX512(_CMP_LT_OQ)
  }
}

/* Numbers of the leaves of 64 rows, a byte each. */
INLINE_AVX512 __m512i numbers_avx512(const uint64_t *planes, const lsd_tree *tree, size_t word, size_t words_a_plane) {
  __m512i numbers = _mm512_setzero_si512();
  for (int bit = 0; bit < tree->n_bits; bit++) {
    __mmask64 set = planes[tree->bit[bit] * words_a_plane + word];
    numbers = _mm512_mask_add_epi8(numbers, set, numbers, _mm512_set1_epi8((char)(1 << bit)));
  }
  return numbers;
}

/* Leaves by the lowest byte of each lane; other bits are ignored. */
INLINE_AVX512 __m512d sixteen_doubles(const double *leaves, __m512i number) {
  return _mm512_permutex2var_pd(_mm512_loadu_pd(leaves), number, _mm512_loadu_pd(leaves + 8));
}

INLINE_AVX512 __m512d find_double(const double *leaves, __m512i number, const int n_bits) {
  __m512d first = sixteen_doubles(leaves, number);
  if (n_bits <= 4) return first;
  __mmask8 bit_4 = _mm512_test_epi64_mask(number, _mm512_set1_epi64(16));
  __m512d low = _mm512_mask_blend_pd(bit_4, first, sixteen_doubles(leaves + 16, number));
  if (n_bits == 5) return low;
  __m512d third = sixteen_doubles(leaves + 32, number);
  __m512d high = _mm512_mask_blend_pd(bit_4, third, sixteen_doubles(leaves + 48, number));
  return _mm512_mask_blend_pd(_mm512_test_epi64_mask(number, _mm512_set1_epi64(32)), low, high);
}

INLINE_AVX512 __m512 find_float(const float *leaves, __m512i number, const int n_bits) {
  __m512 low = _mm512_permutex2var_ps(_mm512_loadu_ps(leaves), number, _mm512_loadu_ps(leaves + 16));
  if (n_bits <= 5) return low;
  __m512 high = _mm512_permutex2var_ps(_mm512_loadu_ps(leaves + 32), number, _mm512_loadu_ps(leaves + 48));
  return _mm512_mask_blend_ps(_mm512_test_epi32_mask(number, _mm512_set1_epi32(32)), low, high);
}

/* A lane holds the numbers of eight (four) rows; each is brought to its lowest byte in turn. So the sums of 64 rows
 * lie in the order of place_double_avx512 (place_float_avx512). */
INLINE_AVX512 void add_doubles(const uint64_t *planes, const lsd_tree *tree, const double *leaves, size_t n_words,
                               double *sums, size_t words_a_plane, const int n_bits) {
  for (size_t word = 0; word < n_words; word++) {
    __m512i numbers = numbers_avx512(planes, tree, word, words_a_plane);
    for (int i = 0; i < 8; i++, sums += 8) {
      _mm512_storeu_pd(sums, _mm512_add_pd(_mm512_loadu_pd(sums), find_double(leaves, numbers, n_bits)));
      numbers = _mm512_srli_epi64(numbers, 8);
    }
  }
}

INLINE_AVX512 void add_floats(const uint64_t *planes, const lsd_tree *tree, const float *leaves, size_t n_words,
                              float *sums, size_t words_a_plane, const int n_bits) {
  for (size_t word = 0; word < n_words; word++) {
    __m512i numbers = numbers_avx512(planes, tree, word, words_a_plane);
    for (int i = 0; i < 4; i++, sums += 16) {
      _mm512_storeu_ps(sums, _mm512_add_ps(_mm512_loadu_ps(sums), find_float(leaves, numbers, n_bits)));
      numbers = _mm512_srli_epi32(numbers, 8);
    }
  }
}

TARGET_AVX512 static void add_double_avx512(const uint64_t *planes, const lsd_tree *tree, const double *leaves,
                                            size_t n_words, double *sums, size_t words_a_plane) {
  if (tree->n_bits <= 4)
    add_doubles(planes, tree, leaves, n_words, sums, words_a_plane, 4);
  else if (tree->n_bits == 5)
    add_doubles(planes, tree, leaves, n_words, sums, words_a_plane, 5);
  else
    add_doubles(planes, tree, leaves, n_words, sums, words_a_plane, 6);
}

TARGET_AVX512 static void add_float_avx512(const uint64_t *planes, const lsd_tree *tree, const float *leaves,
                                           size_t n_words, float *sums, size_t words_a_plane) {
  if (tree->n_bits <= 5)
    add_floats(planes, tree, leaves, n_words, sums, words_a_plane, 5);
  else
    add_floats(planes, tree, leaves, n_words, sums, words_a_plane, 6);
}

static inline size_t place_double_avx512(size_t row) { return row / 64 * 64 + row % 8 * 8 + row % 64 / 8; }
static inline size_t place_float_avx512(size_t row) { return row / 64 * 64 + row % 4 * 16 + row % 64 / 4; }
