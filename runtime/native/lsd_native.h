/* What the native library offers to Python (ctypes) and its files to each other.
 *
 * Every function takes plain pointers and sizes, keeps no state, and never aborts. Threads may call any of them at the
 * same time on different outputs. An `isa` argument chooses an instruction set; all give the same bits.
 */
#ifndef LSD_NATIVE_H
#define LSD_NATIVE_H

#include <stddef.h>
#include <stdint.h>

#define LSD_ABI_VERSION 1 /* raised whenever an argument or a result changes; library.py checks it */

enum lsd_isa { LSD_ISA_BEST = -1, LSD_ISA_PORTABLE = 0, LSD_ISA_AVX2 = 1, LSD_ISA_AVX512 = 2, LSD_ISA_NEON = 3 };

int lsd_abi_version(void);
int lsd_best_isa(void);   /* the fastest of enum lsd_isa that this processor has */
int lsd_has_isa(int isa); /* 1 if this processor, and this build, can run it; LSD_ISA_BEST can be run anywhere */

/* Results: 0 is done. */
enum lsd_status { LSD_DONE = 0, LSD_NO_MEMORY = 1, LSD_NO_SUCH_ISA = 2 };

/* What lsd_moments writes for a channel, and what it may be asked for besides mean and count. */
enum lsd_moment { LSD_MEAN, LSD_M2, LSD_M3, LSD_M4, LSD_MIN, LSD_MAX, LSD_MEDIAN, LSD_COUNT, LSD_MOMENTS };
enum lsd_wanted { LSD_WANT_POWERS = 1, LSD_WANT_EXTREMES = 2, LSD_WANT_MEDIAN = 4 };

/* A band, where denominator is -1, or the index channel (a - b) / (a + b + epsilon) + offset of two bands a and b. */
struct lsd_channel {
  int32_t numerator, denominator; /* positions of bands */
  double epsilon, offset;
  uint32_t wanted; /* enum lsd_wanted */
  uint32_t unused;
};

/* Patches in an array of float32 pixels, NaN where invalid. Strides and starts count floats; columns are adjacent. */
struct lsd_patches {
  const float *pixels;
  const int64_t *starts; /* of each patch: its first pixel of its first band */
  int64_t patches, bands, height, width;
  int64_t band_stride, row_stride;
};

/* Moments of the valid values of every channel of every patch, in float64: out is (patch, channel, enum lsd_moment), NaN
 * where not wanted or no value is valid. m2, m3, m4 are means of powers of the deviation from the mean. */
int lsd_moments(const struct lsd_patches *in, const struct lsd_channel *channels, int64_t channel_count, int isa,
                double *out);

/* Number of NaN pixels of every band of every patch: out is (patch, band). */
int lsd_invalid_px(const struct lsd_patches *in, int isa, int64_t *out);

/* Number of pixels of every patch that are NaN in one or more of `count` bands, given by position: out is (patch). */
int lsd_invalid_in_any(const struct lsd_patches *in, const int32_t *positions, int64_t count, int isa, int64_t *out);

/* Number of pixels of every patch that look like cloud, haze or snow (haze.py has the formula and its source), computed
 * in float32: out is (patch). `red` and `blue` are positions of bands. */
int lsd_hazy_px(const struct lsd_patches *in, int32_t red, int32_t blue, int isa, int64_t *out);

/* Sets values below least[band] or above most[band] to NaN, in (band, n) pixels without gaps; marked, (n), is 1 where a
 * band held one and 0 elsewhere. */
int lsd_mask_out_of_range(float *pixels, int64_t bands, int64_t n, const float *least, const float *most, int isa,
                          uint8_t *marked);

#endif
