/* A forest laid out for evaluation (forest_build.c), and the parts that evaluate it.
 *
 * A test is "row[feature] > threshold goes right", with a side for NaN; trees share tests. For a batch of rows every
 * test becomes a plane: one bit a row, 1 where the row goes right. A tree is then a short list of operations on planes
 * that gives the number of the leaf reached, bit by bit, for all rows at once. It is the bit-vector traversal of
 * QuickScorer (Lucchese et al., SIGIR 2015) turned by 90 degrees: there a word holds the leaves of one tree for one
 * row, here it holds one bit of 64 to 512 rows. For one row the tests become one bit each, and trees are walked.
 *
 * Trees that do not fit this form (more than 64 leaves, or nodes that share children) are walked node by node.
 */
#ifndef LSD_FOREST_H
#define LSD_FOREST_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum {
  LEAVES_OF_A_SMALL_TREE = 64, /* a leaf is numbered by up to MAX_LEAF_BITS planes */
  MAX_LEAF_BITS = 6,
  PLANE_ZERO = 0, /* planes of a block: all 0, all 1, results of operations, then tests */
  PLANE_ONE = 1,
  FIRST_RESULT = 2,
  FIRST_TEST = 384,   /* after at most 63 nodes * 6 results */
  MAX_PLANES = 65536, /* a plane's number is a uint16_t */
  TESTS_ALIGNED_TO = 16,
  TREES_OF_A_CHUNK = 1024,
  CACHE_LINE_BYTES = 64, /* no plane is larger */
  IS_LEAF = 0x80 /* in a child of a small node; the low bits are the leaf's number */
};

typedef struct { /* consecutive tests of one feature and one side for NaN, thresholds ascending */
  uint16_t feature;
  uint16_t nan_goes_right; /* 0 or 1 */
  uint32_t first, count;   /* counted in its block; first is a multiple of TESTS_ALIGNED_TO */
} lsd_test_group;

typedef struct { /* result plane = test ? if_right : if_left */
  uint16_t test, if_left, if_right;
} lsd_plane_operation;

typedef struct { /* node of a tree in the bit form; a child is a node of the tree, or IS_LEAF | leaf */
  uint16_t test;
  uint8_t child[2]; /* left, right */
} lsd_small_node;

typedef struct { /* the same, or a leaf: the leaves of a tree follow its nodes, in the order of their numbers */
  uint16_t test;
  uint8_t step[2]; /* left, right: how much further the child is; 0 in a leaf, where a walk may go on */
} lsd_looped_node;

typedef struct { /* node of a tree in the walked form; children as in the table: < 0 is the leaf ~child */
  float threshold;
  uint16_t feature;
  uint16_t nan_goes_right;
  int16_t child[2];
} lsd_walked_node;

typedef struct {
  uint32_t node, leaf, operation; /* first of each: node in the table and in walked_nodes, the others in the forest */
  uint16_t n_nodes, n_operations;
  uint8_t is_walked, n_bits, depth, unused;
  uint16_t bit[MAX_LEAF_BITS]; /* planes that number the leaf, lowest bit first */
} lsd_tree;

typedef struct { /* trees in the order in which one row visits them: chunk by chunk, in each the shallowest first */
  uint32_t *node;  /* first of the tree's in small_nodes; one more at the end */
  uint32_t *leaf;  /* first, as in lsd_tree */
  uint16_t *place; /* of the tree in its chunk, in the order of the forest */
  uint8_t *depth;  /* 0 for a tree of one leaf, and for a walked one */
} lsd_visits;

typedef struct { /* consecutive trees whose tests together fit the planes */
  uint32_t first_tree, n_trees, first_group, n_groups, first_threshold, n_tests;
} lsd_forest_block;

typedef struct lsd_forest {
  int is_double; /* leaves and sums are double, else float */
  double base_margin;
  uint32_t n_features, n_trees, n_blocks, most_tests;
  lsd_forest_block *blocks;
  lsd_test_group *groups;
  float *thresholds; /* of all blocks; gaps hold +infinity */
  lsd_tree *trees;
  lsd_visits visits; /* in chunks of TREES_OF_A_CHUNK consecutive trees of a block */
  lsd_plane_operation *operations;
  lsd_small_node *small_nodes;   /* in the order of the visits, as the next; NULL where no AVX-512 reads them */
  lsd_looped_node *looped_nodes; /* more bytes than the small ones, fewer instructions; of a walked tree one leaf */
  lsd_walked_node *walked_nodes;
  void *leaves; /* in trees of the bit form in the order of their numbers; LEAVES_OF_A_SMALL_TREE zeros at the end */
} lsd_forest;

/* Reads the arrays of a ForestTable (lsd.runtime.forest.table), of which it keeps nothing.
 * Returns NULL if an index leaves its tree, a threshold is NaN, or there is no memory. */
lsd_forest *lsd_forest_new(int is_double, double base_margin, uint32_t n_features, uint32_t n_trees, uint32_t n_nodes,
                           uint32_t n_leaves, const int32_t *node_offset, const int32_t *leaf_offset,
                           const uint16_t *feature, const float *threshold, const uint8_t *default_left,
                           const int16_t *left, const int16_t *right, const void *leaf_value);
void lsd_forest_free(lsd_forest *forest);

enum lsd_forest_status { LSD_FOREST_DONE = 0, LSD_FOREST_NO_MEMORY = 1, LSD_FOREST_NO_SUCH_ISA = 2 };

/* Margins of n rows of n_features floats each, into n doubles or n floats; enum lsd_forest_status. */
int lsd_forest_margins(const lsd_forest *forest, const float *rows, size_t n, void *margins, int isa);

/* The same by up to `threads` threads, the caller's among them, where there are rows enough for more than one. */
int lsd_forest_margins_by_threads(const lsd_forest *forest, const float *rows, size_t n, void *margins, int isa,
                                  int threads);

/* The two ways that these choose from; isa is one that the machine has, not LSD_ISA_BEST. */
void lsd_forest_margins_by_row(const lsd_forest *forest, const float *rows, size_t n, void *margins, int isa);
int lsd_forest_margins_by_plane(const lsd_forest *forest, const float *rows, size_t n, void *margins, int isa,
                                int threads);

typedef struct { /* rows that threads share: each takes the next block until none is left */
  const lsd_forest *forest;
  const float *rows;
  size_t n, rows_a_block;
  void *margins;
  atomic_size_t next; /* first row that nobody has taken */
} lsd_plane_job;

typedef struct { /* planes in one instruction set */
  size_t rows;                                     /* of a plane, the most of a block */
  size_t (*memory_bytes)(const lsd_forest *forest); /* that a thread needs, a multiple of a cache line */
  void (*take_blocks)(lsd_plane_job *job, void *memory);
} lsd_plane_kernel;

lsd_plane_kernel lsd_plane_kernel_of(int isa);

/* First node, and first leaf, of the tree of a visit in looped_nodes. */
static inline uint32_t lsd_first_looped(const lsd_visits *visits, uint32_t visit) {
  return 2 * visits->node[visit] + visit;
}
static inline uint32_t lsd_first_looped_leaf(const lsd_visits *visits, uint32_t visit) {
  return visits->node[visit] + visits->node[visit + 1] + visit;
}

/* Leaf, counted in its tree, that a row reaches in a tree of the walked form. */
static inline uint32_t lsd_walk(const lsd_walked_node *nodes, const float *row) {
  int child = 0;
  do {
    const lsd_walked_node *node = nodes + child;
    float value = row[node->feature];
    child = node->child[(value > node->threshold) | ((value != value) & node->nan_goes_right)];
  } while (child >= 0);
  return (uint32_t)~child;
}

#endif
