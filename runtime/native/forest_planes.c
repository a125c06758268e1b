/* Margins of blocks of rows, by planes (forest.h), in every instruction set. */
#include "forest.h"

#include <string.h>

#include "lsd_native.h"

enum { COLUMNS = 16 }; /* transposed together: a cache line of a row */

/* Rows of a plane: one vector, so that an operation is one instruction or three. */
#define ROWS_PORTABLE 128
#define ROWS_AVX2 256
#define ROWS_AVX512 512

#include "forest_planes_portable.h"

#define NAME(x) x##_portable
#define TARGET
#define ROWS ROWS_PORTABLE
#define TRANSPOSE transpose_portable
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
#define TRANSPOSE transpose_portable
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
#define TRANSPOSE transpose_avx512
#define COMPARE compare_avx512
#define ADD_DOUBLE add_double_avx512
#define ADD_FLOAT add_float_avx512
#define PLACE_DOUBLE place_double_avx512
#define PLACE_FLOAT place_float_avx512
#include "forest_planes.h"
#endif

lsd_plane_kernel lsd_plane_kernel_of(int isa) {
#if defined(__x86_64__)
  if (isa == LSD_ISA_AVX512) return (lsd_plane_kernel){ROWS_AVX512, memory_bytes_avx512, take_blocks_avx512};
  if (isa == LSD_ISA_AVX2) return (lsd_plane_kernel){ROWS_AVX2, memory_bytes_avx2, take_blocks_avx2};
#endif
  (void)isa; /* NEON is part of every aarch64: the plain C becomes NEON there */
  return (lsd_plane_kernel){ROWS_PORTABLE, memory_bytes_portable, take_blocks_portable};
}
