/* Moments of one channel: a template, included by statistics.c once for each value type and instruction set.
 *
 * The includer defines T (float or double), NAME(x) (x with a suffix of its own), TARGET (a function attribute), LANES
 * (doubles in a vector, 2, 4 or 8) and WIDENED(x) (LANES values of T from address x, as doubles).
 *
 * Every sum is taken in the order of numpy.add.reduce along a contiguous axis (numpy's pairwise summation,
 * numpy/_core/src/umath/loops_utils.h.src): eight partial sums over at most 128 values, joined as
 * ((0+1)+(2+3))+((4+5)+(6+7)), then the rest one by one; longer runs are halved at a multiple of eight. The eight are
 * the lanes of one or a few vectors here, and IEEE 754 does the rest: the results are numpy's bit for bit, on every
 * instruction set (of up to 8,192 values; numpy 1.24 to 2.0 cuts longer runs into buffers first).
 */

#define PARTS (8 / LANES)
typedef double NAME(wide) __attribute__((vector_size(8 * LANES), aligned(8), may_alias));
typedef T NAME(full) __attribute__((vector_size(8 * LANES), aligned(sizeof(T)), may_alias));

/* The sum of eight partial sums, held in vectors. */
TARGET static inline double NAME(joined)(const NAME(wide) parts[PARTS]) {
  double lane[8];
  memcpy(lane, parts, sizeof lane);
  return ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
}

TARGET static double NAME(sum)(const T *x, size_t n) {
  if (n > BLOCK) {
    size_t half = n / 2 - n / 2 % 8;
    double left = NAME(sum)(x, half);
    return left + NAME(sum)(x + half, n - half);
  }
  double sum = 0.0;
  size_t i = 0;
  if (n >= 8) {
    NAME(wide) sums[PARTS];
    for (int p = 0; p < PARTS; p++) sums[p] = WIDENED(x + p * LANES);
    for (i = 8; i + 8 <= n; i += 8)
      for (int p = 0; p < PARTS; p++) sums[p] += WIDENED(x + i + p * LANES);
    sum = NAME(joined)(sums);
  }
  for (; i < n; i++) sum += (double)x[i];
  return sum;
}

/* Sums of the second, third and fourth power of the deviation from the mean. */
TARGET static struct powers NAME(powers)(const T *x, size_t n, double mean) {
  if (n > BLOCK) {
    size_t half = n / 2 - n / 2 % 8;
    struct powers left = NAME(powers)(x, half, mean), right = NAME(powers)(x + half, n - half, mean);
    return (struct powers){left.second + right.second, left.third + right.third, left.fourth + right.fourth};
  }
  struct powers sums = {0.0, 0.0, 0.0};
  size_t i = 0;
  if (n >= 8) {
    NAME(wide) second[PARTS], third[PARTS], fourth[PARTS];
    for (int p = 0; p < PARTS; p++) {
      NAME(wide) deviation = WIDENED(x + p * LANES) - mean, square = deviation * deviation;
      second[p] = square;
      third[p] = square * deviation;
      fourth[p] = square * square;
    }
    for (i = 8; i + 8 <= n; i += 8)
      for (int p = 0; p < PARTS; p++) {
        NAME(wide) deviation = WIDENED(x + i + p * LANES) - mean, square = deviation * deviation;
        second[p] += square;
        third[p] += square * deviation;
        fourth[p] += square * square;
      }
    sums = (struct powers){NAME(joined)(second), NAME(joined)(third), NAME(joined)(fourth)};
  }
  for (; i < n; i++) {
    double deviation = (double)x[i] - mean, square = deviation * deviation;
    sums.second += square;
    sums.third += square * deviation;
    sums.fourth += square * square;
  }
  return sums;
}

/* Least and greatest of one or more values; none is NaN. Four vectors of each, so that no step waits for the last. */
TARGET static void NAME(extremes)(const T *x, size_t n, double *least, double *most) {
  enum { WIDTH = 8 * LANES / sizeof(T), STEP = 4 * WIDTH };
  T low = x[0], high = x[0];
  size_t i = 0;
  if (n >= STEP) {
    NAME(full) lows[4], highs[4];
    for (int k = 0; k < 4; k++) lows[k] = highs[k] = *(const NAME(full) *)(x + k * WIDTH);
    for (i = STEP; i + STEP <= n; i += STEP)
      for (int k = 0; k < 4; k++) {
        NAME(full) new = *(const NAME(full) *)(x + i + k * WIDTH);
        for (size_t lane = 0; lane < WIDTH; lane++) lows[k][lane] = new[lane] < lows[k][lane] ? new[lane] : lows[k][lane];
        for (size_t lane = 0; lane < WIDTH; lane++) highs[k][lane] = new[lane] > highs[k][lane] ? new[lane] : highs[k][lane];
      }
    for (int k = 0; k < 4; k++)
      for (size_t lane = 0; lane < WIDTH; lane++) {
        low = lows[k][lane] < low ? lows[k][lane] : low;
        high = highs[k][lane] > high ? highs[k][lane] : high;
      }
  }
  for (; i < n; i++) {
    low = x[i] < low ? x[i] : low;
    high = x[i] > high ? x[i] : high;
  }
  *least = (double)low;
  *most = (double)high;
}

/* The values that are not NaN, in their order; returns how many. */
TARGET static size_t NAME(valid)(const T *x, size_t n, T *out) {
  size_t kept = 0;
  for (size_t i = 0; i < n; i++) {
    out[kept] = x[i];
    kept += x[i] == x[i];
  }
  return kept;
}

#include "statistics_median.h"

/* Everything wanted of one channel of n values; scratch holds 3 (n + SLACK) of them. */
TARGET static void NAME(moments)(const T *x, size_t n, unsigned wanted, T *scratch, double *out) {
  double sum = NAME(sum)(x, n);
  if (sum != sum) { /* a NaN, or infinities of both signs */
    n = NAME(valid)(x, n, scratch);
    x = scratch;
    scratch += n;
    sum = NAME(sum)(x, n);
  }
  for (int i = 0; i < LSD_MOMENTS; i++) out[i] = NAN;
  out[LSD_COUNT] = (double)n;
  if (!n) return;
  double count = (double)n, mean = sum / count;
  out[LSD_MEAN] = mean;
  if (wanted & LSD_WANT_POWERS) {
    struct powers sums = NAME(powers)(x, n, mean);
    out[LSD_M2] = sums.second / count;
    out[LSD_M3] = sums.third / count;
    out[LSD_M4] = sums.fourth / count;
  }
  if (wanted & LSD_WANT_EXTREMES) NAME(extremes)(x, n, &out[LSD_MIN], &out[LSD_MAX]);
  if (wanted & LSD_WANT_MEDIAN) out[LSD_MEDIAN] = NAME(median)(x, n, scratch);
}

#undef PARTS
