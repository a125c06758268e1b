/* The kernels of one instruction set, for float32 and for float64 values: statistics.c includes this once for each.
 *
 * The includer defines LANES, TARGET (see statistics_kernels.h) and OF(x), x with a suffix for the instruction set.
 */

#define T float
#define RANK int32_t
#define NAME(x) OF(x##_of_float)
#define BETWEEN OF(floats_between)
typedef float OF(half) __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
#if LANES == 4
#define WIDENED(x) ((NAME(wide))_mm256_cvtps_pd(_mm_loadu_ps(x))) /* what GCC 12 makes of the other takes three steps */
#else
#define WIDENED(x) __builtin_convertvector(*(const OF(half) *)(x), NAME(wide))
#endif
#include "statistics_kernels.h"
#undef T
#undef RANK
#undef NAME
#undef BETWEEN

/* (a - b) / (a + b + epsilon) + offset */
TARGET static void OF(index)(const float *a, const float *b, double epsilon, double offset, size_t n, double *out) {
  size_t i = 0;
#define NAME(x) OF(x##_of_float)
  for (; i + LANES <= n; i += LANES) {
    NAME(wide) one = WIDENED(a + i), two = WIDENED(b + i);
    *(NAME(wide) *)(out + i) = (one - two) / (one + two + epsilon) + offset;
  }
#undef NAME
  for (; i < n; i++) out[i] = ((double)a[i] - (double)b[i]) / ((double)a[i] + (double)b[i] + epsilon) + offset;
}
#undef WIDENED

#define T double
#define RANK int64_t
#define NAME(x) OF(x##_of_double)
#define BETWEEN OF(doubles_between)
#define WIDENED(x) (*(const NAME(wide) *)(x))
#include "statistics_kernels.h"
#undef T
#undef RANK
#undef NAME
#undef BETWEEN
#undef WIDENED

static const struct kernels OF(kernels) = {OF(moments_of_float), OF(moments_of_double), OF(index)};
