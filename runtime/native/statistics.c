/* Moments of patches: the bands are read where they lie, index channels are made on the way. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lsd_native.h"
#include "statistics_between.h"

#define BLOCK 128 /* numpy's: values that are added without halving */

struct powers {
  double second, third, fourth;
};

struct kernels {
  void (*of_band)(const float *x, size_t n, unsigned wanted, float *scratch, double *out);
  void (*of_index)(const double *x, size_t n, unsigned wanted, double *scratch, double *out);
  void (*index)(const float *a, const float *b, double epsilon, double offset, size_t n, double *out);
};

#define LANES 2
#define TARGET
#define OF(x) x##_portable
#include "statistics_types.h"
#undef OF
#undef TARGET
#undef LANES

#if defined(__x86_64__)
#define LANES 4
#define TARGET __attribute__((target("avx2")))
#define OF(x) x##_avx2
#include "statistics_types.h"
#undef OF
#undef TARGET
#undef LANES

#define LANES 8
#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))
#define OF(x) x##_avx512
#include "statistics_types.h"
#undef OF
#undef TARGET
#undef LANES
#endif

static const struct kernels *kernels_of(int isa) {
  if (isa == LSD_ISA_BEST) isa = lsd_best_isa();
  if (!lsd_has_isa(isa)) return NULL;
#if defined(__x86_64__)
  if (isa == LSD_ISA_AVX512) return &kernels_avx512;
  if (isa == LSD_ISA_AVX2) return &kernels_avx2;
#endif
  return &kernels_portable; /* on aarch64 these are NEON already */
}

/* The pixels of a band in one run: where they lie, or a copy of their rows. */
static const float *run_of(const struct lsd_patches *in, const float *band, float *copy) {
  if (in->row_stride == in->width) return band;
  for (int64_t y = 0; y < in->height; y++)
    memcpy(copy + y * in->width, band + y * in->row_stride, (size_t)in->width * sizeof *copy);
  return copy;
}

int lsd_moments(const struct lsd_patches *in, const struct lsd_channel *channels, int64_t channel_count, int isa,
                double *out) {
  const struct kernels *kernels = kernels_of(isa);
  if (!kernels) return LSD_NO_SUCH_ISA;
  size_t n = (size_t)(in->height * in->width), bands = (size_t)in->bands;
  double *index = malloc(((n + SLACK) * 4 + 1) * sizeof *index); /* the channel, then scratch for either type */
  float *copies = in->row_stride == in->width ? NULL : malloc((n * bands + 1) * sizeof *copies);
  const float **run = malloc((bands + 1) * sizeof *run);
  int status = index && run && (copies || in->row_stride == in->width) ? LSD_DONE : LSD_NO_MEMORY;
  for (int64_t patch = 0; !status && patch < in->patches; patch++) {
    memset(run, 0, bands * sizeof *run);
    for (int64_t i = 0; i < channel_count; i++, out += LSD_MOMENTS) {
      const struct lsd_channel *channel = &channels[i];
      int32_t needed[2] = {channel->numerator, channel->denominator};
      for (int k = 0; k < 2; k++)
        if (needed[k] >= 0 && !run[needed[k]])
          run[needed[k]] = run_of(in, in->pixels + in->starts[patch] + needed[k] * in->band_stride,
                                  copies + (copies ? (size_t)needed[k] * n : 0));
      const float *a = run[channel->numerator];
      double *scratch = index + n + SLACK;
      if (channel->denominator < 0) {
        kernels->of_band(a, n, channel->wanted, (float *)(void *)scratch, out);
      } else {
        kernels->index(a, run[channel->denominator], channel->epsilon, channel->offset, n, index);
        kernels->of_index(index, n, channel->wanted, scratch, out);
      }
    }
  }
  free(index);
  free(copies);
  free(run);
  return status;
}
