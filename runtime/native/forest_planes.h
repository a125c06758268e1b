/* Margins of up to ROWS rows at once: included by forest_batch.c, once for each instruction set.
 *
 * Before it is included, these are defined:
 *   NAME(x): x with a suffix. TARGET: attribute of functions. ROWS: rows of a plane, a multiple of 64.
 *   TRANSPOSE(rows, n, n_features, width, columns, floats_a_column): n rows of `width` <= COLUMNS floats to columns;
 *     what lies beyond them in a column or among the COLUMNS may be written
 *   COMPARE(column, threshold, n, nan_goes_right, n_words, plane, words_a_plane): n planes, of n thresholds
 *   ADD_DOUBLE, ADD_FLOAT(planes, tree, leaves, n_words, sums, words_a_plane): adds the leaf that each row reaches
 *   PLACE_DOUBLE, PLACE_FLOAT(row): where the sum of a row lies
 */

typedef uint64_t NAME(plane) __attribute__((vector_size(ROWS / 8), aligned(ROWS / 8)));

typedef struct { /* work memory; after it, planes[FIRST_TEST + most_tests] */
  union {
    double doubles[ROWS];
    float floats[ROWS];
  } sums;
  float columns[COLUMNS][ROWS + 16]; /* not a power of two apart: they would share the sets of a cache */
  NAME(plane) planes[];
} NAME(work);

TARGET static void NAME(compare_all)(const lsd_forest *forest, const lsd_forest_block *block, const float *rows,
                                     size_t n, NAME(work) *work) {
  size_t first = SIZE_MAX; /* column that was transposed. What lies beyond the rows gives bits that are not used. */
  for (uint32_t i = 0; i < block->n_groups; i++) {
    const lsd_test_group *group = forest->groups + block->first_group + i;
    if (group->feature / COLUMNS * COLUMNS != first) {
      first = group->feature / COLUMNS * COLUMNS;
      size_t left = forest->n_features - first;
      TRANSPOSE(rows + first, n, forest->n_features, left < COLUMNS ? left : COLUMNS, work->columns[0],
                sizeof work->columns[0] / sizeof work->columns[0][0]);
    }
    COMPARE(work->columns[group->feature - first], forest->thresholds + block->first_threshold + group->first,
            group->count, group->nan_goes_right, (n + 63) / 64,
            (uint64_t *)(work->planes + FIRST_TEST + group->first), ROWS / 64);
  }
}

TARGET static void NAME(operate)(const lsd_plane_operation *operation, size_t n, NAME(plane) *planes) {
  for (size_t i = 0; i < n; i++) {
    NAME(plane) left = planes[operation[i].if_left], right = planes[operation[i].if_right];
    planes[FIRST_RESULT + i] = left ^ ((left ^ right) & planes[operation[i].test]);
  }
}

TARGET static void NAME(add_walked)(const lsd_forest *forest, const lsd_tree *tree, const float *rows, size_t n,
                                    NAME(work) *work) {
  for (size_t row = 0; row < n; row++) {
    uint32_t leaf = tree->leaf + lsd_walk(forest->walked_nodes + tree->node, rows + row * forest->n_features);
    if (forest->is_double)
      work->sums.doubles[PLACE_DOUBLE(row)] += ((const double *)forest->leaves)[leaf];
    else
      work->sums.floats[PLACE_FLOAT(row)] += ((const float *)forest->leaves)[leaf];
  }
}

TARGET static void NAME(margins)(const lsd_forest *forest, const float *rows, size_t n, void *margins, void *memory) {
  NAME(work) *work = memory;
  const uint64_t *planes = (const uint64_t *)work->planes;
  size_t n_words = (n + 63) / 64;
  memset(work->planes + PLANE_ZERO, 0, sizeof *work->planes);
  memset(work->planes + PLANE_ONE, 0xff, sizeof *work->planes);
  for (size_t row = 0; row < ROWS; row++)
    if (forest->is_double)
      work->sums.doubles[row] = forest->base_margin;
    else
      work->sums.floats[row] = (float)forest->base_margin;
  for (const lsd_forest_block *block = forest->blocks; block < forest->blocks + forest->n_blocks; block++) {
    NAME(compare_all)(forest, block, rows, n, work);
    for (uint32_t i = block->first_tree; i < block->first_tree + block->n_trees; i++) {
      const lsd_tree *tree = forest->trees + i;
      if (tree->is_walked) {
        NAME(add_walked)(forest, tree, rows, n, work);
        continue;
      }
      NAME(operate)(forest->operations + tree->operation, tree->n_operations, work->planes);
      if (forest->is_double)
        ADD_DOUBLE(planes, tree, (const double *)forest->leaves + tree->leaf, n_words, work->sums.doubles, ROWS / 64);
      else
        ADD_FLOAT(planes, tree, (const float *)forest->leaves + tree->leaf, n_words, work->sums.floats, ROWS / 64);
    }
  }
  for (size_t row = 0; row < n; row++)
    if (forest->is_double)
      ((double *)margins)[row] = work->sums.doubles[PLACE_DOUBLE(row)];
    else
      ((float *)margins)[row] = work->sums.floats[PLACE_FLOAT(row)];
}

static size_t NAME(memory_bytes)(const lsd_forest *forest) {
  size_t bytes = sizeof(NAME(work)) + ((size_t)FIRST_TEST + forest->most_tests) * sizeof(NAME(plane));
  return (bytes + CACHE_LINE_BYTES - 1) / CACHE_LINE_BYTES * CACHE_LINE_BYTES;
}

static void NAME(take_blocks)(lsd_plane_job *job, void *memory) {
  const lsd_forest *forest = job->forest;
  size_t margin_size = forest->is_double ? sizeof(double) : sizeof(float), first;
  memset(memory, 0, sizeof(NAME(work)));
  while ((first = atomic_fetch_add(&job->next, job->rows_a_block)) < job->n)
    NAME(margins)(forest, job->rows + first * forest->n_features,
                  job->n - first < job->rows_a_block ? job->n - first : job->rows_a_block,
                  (char *)job->margins + first * margin_size, memory);
}

#undef NAME
#undef TARGET
#undef ROWS
#undef TRANSPOSE
#undef COMPARE
#undef ADD_DOUBLE
#undef ADD_FLOAT
#undef PLACE_DOUBLE
#undef PLACE_FLOAT
