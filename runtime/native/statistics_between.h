/* Which of n values lie between two bounds: one function for each value type and instruction set.
 *
 * The values above `low` and below `high` go to `out`, in their order, which has room for SLACK more than n. A bound of
 * NaN is none. Returns how many; `*not_above` is how many are not above `low`. `out` must not overlap the values.
 */
#ifndef LSD_STATISTICS_BETWEEN_H
#define LSD_STATISTICS_BETWEEN_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define SLACK 16 /* a vector is stored whole, whatever of it counts */

#define ONE_BY_ONE(x, from, n, low, high, out, inside, above)    \
  for (size_t at = from; at < n; at++) {                         \
    int is_above = !(x[at] <= low), is_below = !(x[at] >= high); \
    out[inside] = x[at];                                         \
    inside += (size_t)(is_above & is_below);                     \
    above += (size_t)is_above;                                   \
  }

/* The lanes of four that a mask keeps, moved to the front; what follows them does not matter. */
#define FRONTS(LANES)                                                                                          \
  {LANES(0, 0, 0, 0), LANES(0, 0, 0, 0), LANES(1, 0, 0, 0), LANES(0, 1, 0, 0), LANES(2, 0, 0, 0),              \
   LANES(0, 2, 0, 0), LANES(1, 2, 0, 0), LANES(0, 1, 2, 0), LANES(3, 0, 0, 0), LANES(0, 3, 0, 0),              \
   LANES(1, 3, 0, 0), LANES(0, 1, 3, 0), LANES(2, 3, 0, 0), LANES(0, 2, 3, 0), LANES(1, 2, 3, 0),              \
   LANES(0, 1, 2, 3)}

#if defined(__aarch64__)
#define AS_BYTES(a, b, c, d)                                                                          \
  {4 * a, 4 * a + 1, 4 * a + 2, 4 * a + 3, 4 * b, 4 * b + 1, 4 * b + 2, 4 * b + 3,                    \
   4 * c, 4 * c + 1, 4 * c + 2, 4 * c + 3, 4 * d, 4 * d + 1, 4 * d + 2, 4 * d + 3}
static const uint8_t byte_fronts[16][16] = FRONTS(AS_BYTES);

static size_t floats_between_portable(const float *x, size_t n, float low, float high, float *out, size_t *not_above) {
  static const uint32_t bits[4] = {1, 2, 4, 8};
  size_t inside = 0, above = 0, i = 0;
  float32x4_t lows = vdupq_n_f32(low), highs = vdupq_n_f32(high);
  uint32x4_t bit = vld1q_u32(bits);
  for (; i + 4 <= n; i += 4) {
    float32x4_t values = vld1q_f32(x + i);
    uint32x4_t are_above = vmvnq_u32(vcleq_f32(values, lows));
    uint32x4_t are_inside = vbicq_u32(are_above, vcgeq_f32(values, highs));
    uint8x16_t front = vld1q_u8(byte_fronts[vaddvq_u32(vandq_u32(are_inside, bit))]);
    vst1q_u8((uint8_t *)(out + inside), vqtbl1q_u8(vreinterpretq_u8_f32(values), front));
    inside += vaddvq_u32(vshrq_n_u32(are_inside, 31));
    above += vaddvq_u32(vshrq_n_u32(are_above, 31));
  }
  ONE_BY_ONE(x, i, n, low, high, out, inside, above)
  *not_above = n - above;
  return inside;
}
#else
static size_t floats_between_portable(const float *x, size_t n, float low, float high, float *out, size_t *not_above) {
  size_t inside = 0, above = 0;
  ONE_BY_ONE(x, 0, n, low, high, out, inside, above)
  *not_above = n - above;
  return inside;
}
#endif

static size_t doubles_between_portable(const double *x, size_t n, double low, double high, double *out,
                                       size_t *not_above) {
  size_t inside = 0, above = 0;
  ONE_BY_ONE(x, 0, n, low, high, out, inside, above)
  *not_above = n - above;
  return inside;
}

#if defined(__x86_64__)
#define LSD_AVX2 __attribute__((target("avx2,popcnt")))
#define AS_FLOATS(a, b, c, d) {a, b, c, d}
#define AS_DOUBLES(a, b, c, d) {2 * a, 2 * a + 1, 2 * b, 2 * b + 1, 2 * c, 2 * c + 1, 2 * d, 2 * d + 1}
static const int32_t float_fronts[16][4] = FRONTS(AS_FLOATS);
static const int32_t double_fronts[16][8] = FRONTS(AS_DOUBLES);

LSD_AVX2 static size_t floats_between_avx2(const float *x, size_t n, float low, float high, float *out,
                                           size_t *not_above) {
  size_t inside = 0, above = 0, i = 0;
  __m128 lows = _mm_set1_ps(low), highs = _mm_set1_ps(high);
  for (; i + 4 <= n; i += 4) {
    __m128 values = _mm_loadu_ps(x + i);
    int are_above = _mm_movemask_ps(_mm_cmp_ps(values, lows, _CMP_NLE_UQ));
    int are_inside = are_above & _mm_movemask_ps(_mm_cmp_ps(values, highs, _CMP_NGE_UQ));
    __m128i front = _mm_loadu_si128((const __m128i *)(const void *)float_fronts[are_inside]);
    _mm_storeu_ps(out + inside, _mm_permutevar_ps(values, front));
    inside += (size_t)__builtin_popcount((unsigned)are_inside);
    above += (size_t)__builtin_popcount((unsigned)are_above);
  }
  ONE_BY_ONE(x, i, n, low, high, out, inside, above)
  *not_above = n - above;
  return inside;
}

LSD_AVX2 static size_t doubles_between_avx2(const double *x, size_t n, double low, double high, double *out,
                                            size_t *not_above) {
  size_t inside = 0, above = 0, i = 0;
  __m256d lows = _mm256_set1_pd(low), highs = _mm256_set1_pd(high);
  for (; i + 4 <= n; i += 4) {
    __m256d values = _mm256_loadu_pd(x + i);
    int are_above = _mm256_movemask_pd(_mm256_cmp_pd(values, lows, _CMP_NLE_UQ));
    int are_inside = are_above & _mm256_movemask_pd(_mm256_cmp_pd(values, highs, _CMP_NGE_UQ));
    __m256i front = _mm256_loadu_si256((const __m256i *)(const void *)double_fronts[are_inside]);
    __m256 moved = _mm256_permutevar8x32_ps(_mm256_castpd_ps(values), front);
    _mm256_storeu_pd(out + inside, _mm256_castps_pd(moved));
    inside += (size_t)__builtin_popcount((unsigned)are_inside);
    above += (size_t)__builtin_popcount((unsigned)are_above);
  }
  ONE_BY_ONE(x, i, n, low, high, out, inside, above)
  *not_above = n - above;
  return inside;
}

#define LSD_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,popcnt")))

LSD_AVX512 static size_t floats_between_avx512(const float *x, size_t n, float low, float high, float *out,
                                               size_t *not_above) {
  size_t inside = 0, above = 0, i = 0;
  __m512 lows = _mm512_set1_ps(low), highs = _mm512_set1_ps(high);
  for (; i + 16 <= n; i += 16) {
    __m512 values = _mm512_loadu_ps(x + i);
    __mmask16 are_above = _mm512_cmp_ps_mask(values, lows, _CMP_NLE_UQ);
    __mmask16 are_inside = _mm512_mask_cmp_ps_mask(are_above, values, highs, _CMP_NGE_UQ);
    _mm512_storeu_ps(out + inside, _mm512_maskz_compress_ps(are_inside, values));
    inside += (size_t)__builtin_popcount(are_inside);
    above += (size_t)__builtin_popcount(are_above);
  }
  ONE_BY_ONE(x, i, n, low, high, out, inside, above)
  *not_above = n - above;
  return inside;
}

LSD_AVX512 static size_t doubles_between_avx512(const double *x, size_t n, double low, double high, double *out,
                                                size_t *not_above) {
  size_t inside = 0, above = 0, i = 0;
  __m512d lows = _mm512_set1_pd(low), highs = _mm512_set1_pd(high);
  for (; i + 8 <= n; i += 8) {
    __m512d values = _mm512_loadu_pd(x + i);
    __mmask8 are_above = _mm512_cmp_pd_mask(values, lows, _CMP_NLE_UQ);
    __mmask8 are_inside = _mm512_mask_cmp_pd_mask(are_above, values, highs, _CMP_NGE_UQ);
    _mm512_storeu_pd(out + inside, _mm512_maskz_compress_pd(are_inside, values));
    inside += (size_t)__builtin_popcount(are_inside);
    above += (size_t)__builtin_popcount(are_above);
  }
  ONE_BY_ONE(x, i, n, low, high, out, inside, above)
  *not_above = n - above;
  return inside;
}
#endif

#endif
