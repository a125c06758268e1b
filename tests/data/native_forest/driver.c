/* Margins of forests outside Python. stdin: cases one after the other, each a header, the arrays of a table and rows;
 * stdout, for each: 1 and the margins by row, by plane, by the library's choice and by THREADS threads, or 0 if the table
 * was refused. */
#include <stdio.h>
#include <stdlib.h>

#include "forest.h"

enum { THREADS = 3 };

typedef struct {
  int32_t is_double, isa;
  uint32_t n_features, n_trees, n_nodes, n_leaves, n_rows, unused;
  double base_margin;
} header;

static void *taken(size_t n, size_t size) {
  void *array = malloc(n * size); /* of exactly this size: a sanitizer sees what is read beyond */
  if (!array || fread(array, size, n, stdin) != n) exit(3);
  return array;
}

static void give(const void *margins, size_t n, size_t size) {
  if (fwrite(margins, size, n, stdout) != n) exit(3);
}

int main(void) {
  header h;
  while (fread(&h, sizeof h, 1, stdin) == 1) {
    size_t size = h.is_double ? sizeof(double) : sizeof(float), n = h.n_rows;
    int32_t *node_offset = taken(h.n_trees + 1, 4), *leaf_offset = taken(h.n_trees + 1, 4);
    uint16_t *feature = taken(h.n_nodes, 2);
    float *threshold = taken(h.n_nodes, 4);
    uint8_t *default_left = taken(h.n_nodes, 1);
    int16_t *left = taken(h.n_nodes, 2), *right = taken(h.n_nodes, 2);
    void *leaf_value = taken(h.n_leaves, size);
    float *rows = taken(n * h.n_features, 4);
    lsd_forest *forest = lsd_forest_new(h.is_double, h.base_margin, h.n_features, h.n_trees, h.n_nodes, h.n_leaves,
                                        node_offset, leaf_offset, feature, threshold, default_left, left, right,
                                        leaf_value);
    int32_t accepted = forest != NULL;
    give(&accepted, 1, sizeof accepted);
    if (forest) {
      void *margins = malloc(n * size);
      if (!margins) return 3;
      lsd_forest_margins_by_row(forest, rows, n, margins, h.isa);
      give(margins, n, size);
      if (lsd_forest_margins_by_plane(forest, rows, n, margins, h.isa, 1)) return 4;
      give(margins, n, size);
      if (lsd_forest_margins(forest, rows, n, margins, h.isa)) return 4;
      give(margins, n, size);
      if (lsd_forest_margins_by_threads(forest, rows, n, margins, h.isa, THREADS)) return 4;
      give(margins, n, size);
      free(margins);
    }
    lsd_forest_free(forest);
    void *all[] = {node_offset, leaf_offset, feature, threshold, default_left, left, right, leaf_value, rows};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
  }
  return 0;
}
