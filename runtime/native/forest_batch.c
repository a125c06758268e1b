/* Margins of any number of rows: the choice between rows one by one and planes, and the threads that share planes. */
#include "forest.h"

#include <pthread.h>
#include <stdlib.h>

#include "lsd_native.h"

enum { MOST_THREADS = 64, ROWS_OF_A_WORD = 64 }; /* blocks hold whole words of planes, but for the last */

/* Rows that take as long one by one as a block of up to 64 by planes. Measured on a Xeon of the Sapphire Rapids
 * generation, forests of 100 to 12,000 trees: 11 to 33 with AVX-512, 13 to 18 with AVX2, 14 to 29 in plain C. */
static size_t least_rows_by_plane(int isa) { return isa == LSD_ISA_AVX512 || isa == LSD_ISA_AVX2 ? 16 : 24; }

int lsd_forest_margins(const lsd_forest *forest, const float *rows, size_t n, void *margins, int isa) {
  return lsd_forest_margins_by_threads(forest, rows, n, margins, isa, 1);
}

int lsd_forest_margins_by_threads(const lsd_forest *forest, const float *rows, size_t n, void *margins, int isa,
                                  int threads) {
  if (!lsd_has_isa(isa)) return LSD_FOREST_NO_SUCH_ISA;
  if (isa == LSD_ISA_BEST) isa = lsd_best_isa();
  size_t in_last_block = n % lsd_plane_kernel_of(isa).rows;
  size_t by_plane = in_last_block < least_rows_by_plane(isa) ? n - in_last_block : n;
  size_t margin_size = forest->is_double ? sizeof(double) : sizeof(float);
  if (by_plane) {
    int status = lsd_forest_margins_by_plane(forest, rows, by_plane, margins, isa, threads);
    if (status != LSD_FOREST_DONE) return status;
  }
  lsd_forest_margins_by_row(forest, rows + by_plane * forest->n_features, n - by_plane,
                            (char *)margins + by_plane * margin_size, isa);
  return LSD_FOREST_DONE;
}

/* --- threads ------------------------------------------------------------------------------------------------------ */

typedef struct {
  const lsd_plane_kernel *kernel;
  lsd_plane_job *job;
  void *memory;
  pthread_t thread;
} helper;

static void *help(void *argument) {
  helper *self = argument;
  self->kernel->take_blocks(self->job, self->memory);
  return NULL;
}

static size_t multiple(size_t n, size_t of) { return (n + of - 1) / of * of; }

/* Blocks are taken, not given: a thread that comes late, or whose core is slow, takes fewer. There are as many blocks
 * for each thread, where they are few, so that none waits for the last. */
int lsd_forest_margins_by_plane(const lsd_forest *forest, const float *rows, size_t n, void *margins, int isa,
                                int threads) {
  if (n == 0) return LSD_FOREST_DONE;
  const lsd_plane_kernel kernel = lsd_plane_kernel_of(isa);
  size_t n_blocks = multiple(n, kernel.rows) / kernel.rows, n_threads = threads < 1 ? 1 : (size_t)threads;
  if (n_threads > MOST_THREADS) n_threads = MOST_THREADS;
  if (n_threads > n_blocks) n_threads = n_blocks;
  size_t n_even_blocks = multiple(n_blocks, n_threads);
  size_t rows_a_block = multiple((n + n_even_blocks - 1) / n_even_blocks, ROWS_OF_A_WORD);
  if (n_threads == 1) rows_a_block = kernel.rows;
  size_t bytes = kernel.memory_bytes(forest);
  char *memory = aligned_alloc(CACHE_LINE_BYTES, n_threads * bytes);
  if (!memory) return LSD_FOREST_NO_MEMORY;

  lsd_plane_job job = {forest, rows, n, rows_a_block, margins, 0};
  helper helpers[MOST_THREADS];
  size_t n_helpers = 0;
  while (n_helpers + 1 < n_threads) {
    helper *next = helpers + n_helpers;
    *next = (helper){.kernel = &kernel, .job = &job, .memory = memory + (n_helpers + 1) * bytes};
    if (pthread_create(&next->thread, NULL, help, next)) break; /* fewer do it, too */
    n_helpers++;
  }
  kernel.take_blocks(&job, memory);
  while (n_helpers) pthread_join(helpers[--n_helpers].thread, NULL);
  free(memory);
  return LSD_FOREST_DONE;
}
