/* What the native library offers to Python (ctypes) and its files to each other.
 *
 * Every function takes plain pointers and sizes, keeps no state, and never aborts. Threads may call any of them at the
 * same time on different outputs. An `isa` argument chooses an instruction set; all give the same bits.
 */
#ifndef LSD_NATIVE_H
#define LSD_NATIVE_H

#include <stddef.h>
#include <stdint.h>

#define LSD_ABI_VERSION 2 /* raised whenever an argument or a result changes; library.py checks it */

enum lsd_isa { LSD_ISA_BEST = -1, LSD_ISA_PORTABLE = 0, LSD_ISA_AVX2 = 1, LSD_ISA_AVX512 = 2, LSD_ISA_NEON = 3 };

int lsd_abi_version(void);
int lsd_best_isa(void);   /* the fastest of enum lsd_isa that this processor has */
int lsd_has_isa(int isa); /* 1 if this processor, and this build, can run it; LSD_ISA_BEST can be run anywhere */

/* Results: 0 is done. */
enum lsd_status { LSD_DONE = 0, LSD_NO_MEMORY = 1, LSD_NO_SUCH_ISA = 2, LSD_NOT_READ = 3 };

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

/* How the values of a band are stored, and what makes them canonical: x, x + 1000 where x is not 0, 10000 x + 1000. */
enum lsd_stored { LSD_UINT8, LSD_INT8, LSD_UINT16, LSD_INT16, LSD_FLOAT32, LSD_STORED };
enum lsd_conversion { LSD_AS_IT_IS, LSD_ADD_1000, LSD_REFLECTANCE_TO_DN };

struct lsd_rule {
  int32_t stored;     /* enum lsd_stored */
  int32_t conversion; /* enum lsd_conversion */
  float nodata;       /* a value that is not valid besides NaN and infinity; NaN for none */
  float zero;         /* 0 where 0 is not valid either, NaN where it is */
  float least, most;  /* canonical values outside are not valid and marked, if they are to be marked */
};

/* Where the blocks of a band lie in a file: `across` side by side, each block_height rows of block_width values. */
struct lsd_blocks {
  const int64_t *offsets; /* of each block in bytes, row by row of blocks */
  int64_t across, block_height, block_width;
};

/* Makes n stored values canonical float32, NaN where not valid. `stored` may be `out`. `unseen`, (n) or null, stays 1
 * where it was and the value is 0 or not valid, before it is converted, and is 0 elsewhere. `marked`, (n) or null,
 * becomes 1 where the canonical value is out of range. */
int lsd_convert(const void *stored, int64_t n, const struct lsd_rule *rule, int isa, float *out, uint8_t *unseen,
                uint8_t *marked);

/* The same for a window of a band, (height, width) from row y and column x, read from the blocks of an open file. It
 * must lie inside of the blocks. LSD_NOT_READ where the file ends before, or reading fails. */
int lsd_convert_blocks(int file, const struct lsd_blocks *blocks, int64_t y, int64_t x, int64_t height, int64_t width,
                       const struct lsd_rule *rule, int isa, float *out, uint8_t *unseen, uint8_t *marked);

#endif
