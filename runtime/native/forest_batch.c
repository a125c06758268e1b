/* Margins of many rows, by planes (forest.h), and the choice between the two ways. */
#include "forest.h"

#include <stdlib.h>
#include <string.h>

#include "lsd_native.h"

enum {
  CACHE_LINE_BYTES = 64, /* no plane is larger */
  COLUMNS = 16           /* transposed together: a cache line of a row */
};

/* Rows of a plane: one vector, so that an operation is one instruction or three. */
#define ROWS_PORTABLE 128
#define ROWS_AVX2 256
#define ROWS_AVX512 512

#include "forest_planes_portable.h"

#define NAME(x) x##_portable
#define TARGET
#define ROWS ROWS_PORTABLE
#define COMPARE compare_portable
#define ADD_DOUBLE add_double_portable
#define ADD_FLOAT add_float_portable
#define PLACE_DOUBLE place_portable
#define PLACE_FLOAT place_portable
#include "forest_planes.h"

#if defined(__x86_64__)
#include "forest_planes_avx2.h"

#define NAME(x) x##_avx2
#define TARGET TARGET_AVX2
#define ROWS ROWS_AVX2
#define COMPARE compare_avx2
#define ADD_DOUBLE add_double_portable
#define ADD_FLOAT add_float_portable
#define PLACE_DOUBLE place_portable
#define PLACE_FLOAT place_portable
#include "forest_planes.h"

#include "forest_planes_avx512.h"

#define NAME(x) x##_avx512
#define TARGET TARGET_AVX512
#define ROWS ROWS_AVX512
#define COMPARE compare_avx512
#define ADD_DOUBLE add_double_avx512
#define ADD_FLOAT add_float_avx512
#define PLACE_DOUBLE place_double_avx512
#define PLACE_FLOAT place_float_avx512
#include "forest_planes.h"
#endif

static size_t rows_of_a_plane(int isa) {
  return isa == LSD_ISA_AVX512 ? ROWS_AVX512 : isa == LSD_ISA_AVX2 ? ROWS_AVX2 : ROWS_PORTABLE;
}

/* Rows that take as long one by one as a block of up to 64 by planes. Measured on a Xeon of the Sapphire Rapids
 * generation: 11 to 26 with AVX-512, 5 to 11 with AVX2, 5 to 30 in plain C, for forests of 100 to 12,000 trees. */
static size_t least_rows_by_plane(int isa) { return isa == LSD_ISA_AVX2 ? 8 : 16; }

int lsd_forest_margins(const lsd_forest *forest, const float *rows, size_t n, void *margins, int isa) {
  if (!lsd_has_isa(isa)) return LSD_FOREST_NO_SUCH_ISA;
  if (isa == LSD_ISA_BEST) isa = lsd_best_isa();
  size_t in_last_block = n % rows_of_a_plane(isa);
  size_t by_plane = in_last_block < least_rows_by_plane(isa) ? n - in_last_block : n;
  size_t margin_size = forest->is_double ? sizeof(double) : sizeof(float);
  if (by_plane) {
    int status = lsd_forest_margins_by_plane(forest, rows, by_plane, margins, isa);
    if (status != LSD_FOREST_DONE) return status;
  }
  lsd_forest_margins_by_row(forest, rows + by_plane * forest->n_features, n - by_plane,
                            (char *)margins + by_plane * margin_size, isa);
  return LSD_FOREST_DONE;
}

int lsd_forest_margins_by_plane(const lsd_forest *forest, const float *rows, size_t n, void *margins, int isa) {
#if defined(__x86_64__)
  if (isa == LSD_ISA_AVX512) return margins_of_blocks_avx512(forest, rows, n, margins);
  if (isa == LSD_ISA_AVX2) return margins_of_blocks_avx2(forest, rows, n, margins);
#endif
  (void)isa; /* NEON is part of every aarch64: the plain C becomes NEON there */
  return margins_of_blocks_portable(forest, rows, n, margins);
}
