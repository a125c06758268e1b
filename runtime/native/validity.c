/* Counts of pixels: invalid ones, and those that look like cloud. The compiler makes vectors of the plain loops. */
#include <math.h>
#include <string.h>

#include "lsd_native.h"

#define CHUNK 256 /* pixels at a time where bands are joined */

/* The loops for one instruction set. */
#define LOOPS(ISA, TARGET)                                                                            \
  TARGET static int64_t nans_##ISA(const float *x, int64_t n) {                                       \
    int32_t count = 0;                                                                                \
    for (int64_t i = 0; i < n; i++) count += x[i] != x[i];                                            \
    return count;                                                                                     \
  }                                                                                                   \
  TARGET static void mark_##ISA(const float *x, int64_t n, int32_t *marked) {                         \
    for (int64_t i = 0; i < n; i++) marked[i] |= x[i] != x[i];                                        \
  }                                                                                                   \
  TARGET static int64_t hazy_##ISA(const float *red, const float *blue, int64_t n) {                  \
    int32_t count = 0;                                                                                \
    for (int64_t i = 0; i < n; i++)                                                                   \
      count += (blue[i] - 1000.0f) - 0.5f * (red[i] - 1000.0f) - 800.0f > 0.0f;                       \
    return count;                                                                                     \
  }                                                                                                   \
  TARGET static void mask_##ISA(float *x, int64_t n, float least, float most, int32_t *marked) {      \
    for (int64_t i = 0; i < n; i++) {                                                                 \
      int32_t outside = (x[i] < least) | (x[i] > most);                                               \
      marked[i] |= outside;                                                                           \
      x[i] = outside ? NAN : x[i];                                                                    \
    }                                                                                                 \
  }                                                                                                   \
  static const struct loops loops_##ISA = {nans_##ISA, mark_##ISA, hazy_##ISA, mask_##ISA};

struct loops {
  int64_t (*nans)(const float *x, int64_t n);
  void (*mark)(const float *x, int64_t n, int32_t *marked);
  int64_t (*hazy)(const float *red, const float *blue, int64_t n);
  void (*mask)(float *x, int64_t n, float least, float most, int32_t *marked);
};

LOOPS(portable, )
#if defined(__x86_64__)
LOOPS(avx2, __attribute__((target("avx2"))))
LOOPS(avx512, __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl"))))
#endif

static const struct loops *loops_of(int isa) {
  if (isa == LSD_ISA_BEST) isa = lsd_best_isa();
  if (!lsd_has_isa(isa)) return 0;
#if defined(__x86_64__)
  if (isa == LSD_ISA_AVX512) return &loops_avx512;
  if (isa == LSD_ISA_AVX2) return &loops_avx2;
#endif
  return &loops_portable;
}

/* Rows and columns of a band; one long row where nothing lies between the rows. */
struct extent {
  int64_t rows, columns;
};

static struct extent extent_of(const struct lsd_patches *in) {
  if (in->row_stride == in->width) return (struct extent){1, in->height * in->width};
  return (struct extent){in->height, in->width};
}

static const float *row_of(const struct lsd_patches *in, int64_t patch, int64_t band, int64_t row) {
  return in->pixels + in->starts[patch] + band * in->band_stride + row * in->row_stride;
}

/* Row by row through all patches: side by side in a tile, their rows follow each other. */
int lsd_invalid_px(const struct lsd_patches *in, int isa, int64_t *out) {
  const struct loops *loops = loops_of(isa);
  if (!loops) return LSD_NO_SUCH_ISA;
  struct extent extent = extent_of(in);
  memset(out, 0, (size_t)(in->patches * in->bands) * sizeof *out);
  for (int64_t band = 0; band < in->bands; band++)
    for (int64_t y = 0; y < extent.rows; y++)
      for (int64_t patch = 0; patch < in->patches; patch++)
        out[patch * in->bands + band] += loops->nans(row_of(in, patch, band, y), extent.columns);
  return LSD_DONE;
}

int lsd_invalid_in_any(const struct lsd_patches *in, const int32_t *positions, int64_t count, int isa, int64_t *out) {
  const struct loops *loops = loops_of(isa);
  if (!loops) return LSD_NO_SUCH_ISA;
  struct extent extent = extent_of(in);
  for (int64_t patch = 0; patch < in->patches; patch++) {
    int64_t found = 0;
    for (int64_t y = 0; y < extent.rows; y++)
      for (int64_t x = 0; x < extent.columns; x += CHUNK) {
        int64_t n = extent.columns - x < CHUNK ? extent.columns - x : CHUNK;
        int32_t marked[CHUNK] = {0};
        for (int64_t i = 0; i < count; i++) loops->mark(row_of(in, patch, positions[i], y) + x, n, marked);
        for (int64_t i = 0; i < n; i++) found += marked[i];
      }
    *out++ = found;
  }
  return LSD_DONE;
}

int lsd_hazy_px(const struct lsd_patches *in, int32_t red, int32_t blue, int isa, int64_t *out) {
  const struct loops *loops = loops_of(isa);
  if (!loops) return LSD_NO_SUCH_ISA;
  struct extent extent = extent_of(in);
  memset(out, 0, (size_t)in->patches * sizeof *out);
  for (int64_t y = 0; y < extent.rows; y++)
    for (int64_t patch = 0; patch < in->patches; patch++)
      out[patch] += loops->hazy(row_of(in, patch, red, y), row_of(in, patch, blue, y), extent.columns);
  return LSD_DONE;
}

int lsd_mask_out_of_range(float *pixels, int64_t bands, int64_t n, const float *least, const float *most, int isa,
                          uint8_t *marked) {
  const struct loops *loops = loops_of(isa);
  if (!loops) return LSD_NO_SUCH_ISA;
  for (int64_t x = 0; x < n; x += CHUNK) {
    int64_t some = n - x < CHUNK ? n - x : CHUNK;
    int32_t found[CHUNK] = {0};
    for (int64_t band = 0; band < bands; band++)
      loops->mask(pixels + band * n + x, some, least[band], most[band], found);
    for (int64_t i = 0; i < some; i++) marked[x + i] = (uint8_t)found[i];
  }
  return LSD_DONE;
}
