/* Runs the statistics of the native library in a program of its own: under sanitizers, or for another machine.
 *
 * driver ISA PATCHES BANDS HEIGHT WIDTH ROW_STRIDE CHANNELS; stdin: the channels, then the pixels (row by row, each of
 * ROW_STRIDE floats); stdout: what lsd_moments, lsd_invalid_px, lsd_invalid_in_any and lsd_hazy_px answer. */
#include <stdio.h>
#include <stdlib.h>

#include "lsd_native.h"

static void *filled(size_t size, size_t count) {
  void *buffer = malloc(size * count); /* no byte more than is needed: a sanitizer sees the first one too far */
  if (!buffer || fread(buffer, size, count, stdin) != count) exit(3);
  return buffer;
}

int main(int argc, char **argv) {
  if (argc != 8) return 2;
  int isa = atoi(argv[1]);
  struct lsd_patches in = {.patches = atol(argv[2]), .bands = atol(argv[3]), .height = atol(argv[4]),
                           .width = atol(argv[5]), .row_stride = atol(argv[6])};
  int64_t channel_count = atol(argv[7]);
  in.band_stride = in.height * in.row_stride;
  struct lsd_channel *channels = filled(sizeof *channels, (size_t)channel_count);
  size_t floats = (size_t)(in.patches * in.bands * in.band_stride);
  float *pixels = filled(sizeof *pixels, floats - (size_t)(in.row_stride - in.width)); /* the last row ends early */
  int64_t *starts = malloc((size_t)in.patches * sizeof *starts);
  for (int64_t i = 0; i < in.patches; i++) starts[i] = i * in.bands * in.band_stride;
  in.pixels = pixels;
  in.starts = starts;

  size_t numbers = (size_t)(in.patches * channel_count * LSD_MOMENTS), counts = (size_t)(in.patches * (in.bands + 2));
  double *moments = malloc(numbers * sizeof *moments);
  int64_t *found = malloc(counts * sizeof *found);
  int32_t *all = malloc((size_t)in.bands * sizeof *all);
  for (int32_t i = 0; i < in.bands; i++) all[i] = i;
  int status = lsd_moments(&in, channels, channel_count, isa, moments) | lsd_invalid_px(&in, isa, found) |
               lsd_invalid_in_any(&in, all, in.bands, isa, found + in.patches * in.bands) |
               lsd_hazy_px(&in, 0, 1, isa, found + in.patches * (in.bands + 1));
  float *bounds = malloc((size_t)in.bands * sizeof *bounds);
  uint8_t *marked = malloc((size_t)in.band_stride);
  for (int64_t i = 0; i < in.bands; i++) bounds[i] = 5.0f;
  if (in.patches * in.bands > in.bands) /* the last patch ends early where rows have gaps */
    status |= lsd_mask_out_of_range(pixels, in.bands, in.band_stride, bounds, bounds, isa, marked);
  fwrite(moments, sizeof *moments, numbers, stdout);
  fwrite(found, sizeof *found, counts, stdout);
  free(channels), free(pixels), free(starts), free(moments), free(found), free(all), free(bounds), free(marked);
  return status;
}
