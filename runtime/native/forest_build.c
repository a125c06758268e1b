/* From the arrays of a table to the layout of forest.h; an index that leaves its tree is refused. */
#include "forest.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lsd_native.h"

/* Above CACHED_TESTS the planes of a block leave a cache of 0.5 MiB; then fewer than LEAST_SHARING nodes a test are not
 * worth a large block. */
enum { CACHED_TESTS = 8192, LEAST_SHARING = 2 };

typedef struct {
  const int32_t *node_offset, *leaf_offset;
  const uint16_t *feature;
  const float *threshold;
  const uint8_t *default_left;
  const int16_t *left, *right;
} table;

static int is_sound(const table *t, uint32_t n_features, uint32_t n_trees, uint32_t n_nodes, uint32_t n_leaves) {
  if (t->node_offset[0] || t->leaf_offset[0]) return 0;
  for (uint32_t tree = 0; tree < n_trees; tree++) {
    int64_t start = t->node_offset[tree], nodes = (int64_t)t->node_offset[tree + 1] - start;
    int64_t leaves = (int64_t)t->leaf_offset[tree + 1] - t->leaf_offset[tree];
    if (nodes < 0 || nodes > INT16_MAX || leaves != nodes + 1 || start + nodes > n_nodes) return 0;
    for (int64_t i = 0; i < nodes; i++) {
      int64_t left = t->left[start + i], right = t->right[start + i];
      if (left >= 0 ? left <= i || left >= nodes : ~left >= leaves) return 0;
      if (right >= 0 ? right <= i || right >= nodes : ~right >= leaves) return 0;
      if (t->feature[start + i] >= n_features || isnan(t->threshold[start + i])) return 0;
    }
  }
  return (uint32_t)t->node_offset[n_trees] == n_nodes && (uint32_t)t->leaf_offset[n_trees] == n_leaves;
}

/* --- which trees take the bit form, and how their leaves are numbered --------------------------------------------- */

typedef struct {
  uint32_t n_nodes;
  uint8_t below[LEAVES_OF_A_SMALL_TREE];  /* leaves below a node */
  uint8_t first[LEAVES_OF_A_SMALL_TREE];  /* number of the first of them */
  uint8_t number[LEAVES_OF_A_SMALL_TREE]; /* of a leaf */
} numbering;

/* Numbers leaves so that those below a node are consecutive, the larger side first, which leaves more bits of the
 * numbers constant below a node. 0 if the tree has too many leaves or its nodes share children. */
static int number_leaves(const table *t, uint32_t tree, numbering *out) {
  int32_t start = t->node_offset[tree];
  uint32_t n = (uint32_t)(t->node_offset[tree + 1] - start);
  uint8_t parents[2 * LEAVES_OF_A_SMALL_TREE] = {0}; /* of nodes, then of leaves */
  if (n >= LEAVES_OF_A_SMALL_TREE) return 0;
  for (uint32_t i = 0; i < n; i++)
    for (int side = 0; side < 2; side++) {
      int child = (side ? t->right : t->left)[start + (int32_t)i];
      if (parents[child >= 0 ? child : LEAVES_OF_A_SMALL_TREE + ~child]++) return 0;
    }
  out->n_nodes = n;
  out->number[0] = out->first[0] = 0; /* a tree of one leaf */
  for (uint32_t i = n; i-- > 0;) {
    int left = t->left[start + (int32_t)i], right = t->right[start + (int32_t)i];
    out->below[i] = (uint8_t)((left >= 0 ? out->below[left] : 1) + (right >= 0 ? out->below[right] : 1));
  }
  for (uint32_t i = 0; i < n; i++) {
    int child[2] = {t->left[start + (int32_t)i], t->right[start + (int32_t)i]};
    int size[2] = {child[0] >= 0 ? out->below[child[0]] : 1, child[1] >= 0 ? out->below[child[1]] : 1};
    int larger = size[1] > size[0];
    for (int side = 0; side < 2; side++) {
      uint8_t first = (uint8_t)(out->first[i] + (side == larger ? 0 : size[larger]));
      if (child[side] >= 0)
        out->first[child[side]] = first;
      else
        out->number[~child[side]] = first;
    }
  }
  return 1;
}

/* --- tests -------------------------------------------------------------------------------------------------------- */

enum { KEY_BITS = 49, DIGIT_BITS = 11, DIGIT = (1 << DIGIT_BITS) - 1 };

typedef struct {
  uint16_t feature, nan_goes_right;
  float threshold;
  uint32_t node;
} use;

/* By feature, side of NaN, threshold; -0 and 0 are one threshold. */
static uint64_t key_of(const use *one) {
  float threshold = one->threshold == 0 ? 0.0f : one->threshold;
  uint32_t bits;
  memcpy(&bits, &threshold, sizeof bits);
  bits ^= bits >> 31 ? UINT32_MAX : UINT32_C(1) << 31; /* unsigned order is then that of the values */
  return (uint64_t)one->feature << 33 | (uint64_t)one->nan_goes_right << 32 | bits;
}

/* Radix sort, the lowest digit first; `spare` has room for as many. */
static void sort_uses(use *uses, use *spare, size_t n) {
  for (int shift = 0; shift < KEY_BITS; shift += DIGIT_BITS) {
    size_t place[1 << DIGIT_BITS] = {0}, sum = 0;
    for (size_t i = 0; i < n; i++) place[key_of(uses + i) >> shift & DIGIT]++;
    for (size_t digit = 0; digit <= DIGIT; digit++) {
      size_t count = place[digit];
      place[digit] = sum;
      sum += count;
    }
    for (size_t i = 0; i < n; i++) spare[place[key_of(uses + i) >> shift & DIGIT]++] = uses[i];
    memcpy(uses, spare, n * sizeof *uses);
  }
}

/* Numbers the tests of sorted uses: test_of[node], and the groups and thresholds of a block, each unless NULL. */
typedef struct {
  uint32_t n_tests, n_groups, n_distinct; /* n_tests counts the gaps between groups, too */
} test_counts;

static test_counts number_tests(const use *uses, size_t n, uint16_t *test_of, lsd_test_group *groups,
                                float *thresholds) {
  test_counts counts = {0, 0, 0};
  uint32_t next = 0;
  for (size_t i = 0; i < n; i++) {
    const use *one = uses + i;
    int new_group = i == 0 || one->feature != uses[i - 1].feature || one->nan_goes_right != uses[i - 1].nan_goes_right;
    if (new_group) {
      next = counts.n_tests;
      if (groups) groups[counts.n_groups] = (lsd_test_group){one->feature, one->nan_goes_right, next, 0};
      counts.n_groups++;
    }
    if (new_group || one->threshold != uses[i - 1].threshold) {
      if (thresholds) thresholds[next] = one->threshold;
      if (groups) groups[counts.n_groups - 1].count++;
      next++;
      counts.n_distinct++;
      counts.n_tests = (next + TESTS_ALIGNED_TO - 1) / TESTS_ALIGNED_TO * TESTS_ALIGNED_TO;
    }
    if (test_of) test_of[one->node] = (uint16_t)(next - 1);
  }
  return counts;
}

/* --- the forest --------------------------------------------------------------------------------------------------- */

typedef struct {
  const table *from;
  lsd_forest *forest;
  uint16_t *test_of; /* of every node of the table */
  use *uses, *spare; /* room for all of them */
  lsd_small_node *nodes; /* of the trees in the bit form, in the order of the table */
} builder;

static void *resized(void *array, size_t n, size_t size) { return realloc(array, (n ? n : 1) * size); }

/* Blocks of trees [first, first + n): one, or those of the two halves where there are too many tests, or where the
 * planes would not fit the cache and there is little to gain from sharing them. 0 without memory. */
static int build_blocks(builder *b, uint32_t first, uint32_t n) {
  lsd_forest *forest = b->forest;
  size_t n_uses = 0;
  for (uint32_t tree = first; tree < first + n; tree++) {
    if (forest->trees[tree].is_walked) continue;
    for (int32_t node = b->from->node_offset[tree]; node < b->from->node_offset[tree + 1]; node++)
      b->uses[n_uses++] =
          (use){b->from->feature[node], b->from->default_left[node] != 1, b->from->threshold[node], (uint32_t)node};
  }
  sort_uses(b->uses, b->spare, n_uses);
  test_counts counts = number_tests(b->uses, n_uses, NULL, NULL, NULL);
  int too_many = counts.n_tests > MAX_PLANES - FIRST_TEST;
  int better_halved = counts.n_distinct > CACHED_TESTS && n_uses < LEAST_SHARING * (size_t)counts.n_distinct;
  if (n > 1 && (too_many || better_halved))
    return build_blocks(b, first, n / 2) && build_blocks(b, first + n / 2, n - n / 2);

  lsd_forest_block block = {first, n, 0, counts.n_groups, 0, counts.n_tests};
  if (forest->n_blocks) {
    const lsd_forest_block *last = forest->blocks + forest->n_blocks - 1;
    block.first_group = last->first_group + last->n_groups;
    block.first_threshold = last->first_threshold + last->n_tests;
  }
  lsd_forest_block *blocks = resized(forest->blocks, forest->n_blocks + 1, sizeof *blocks);
  if (blocks) forest->blocks = blocks;
  lsd_test_group *groups = resized(forest->groups, (size_t)block.first_group + block.n_groups, sizeof *groups);
  if (groups) forest->groups = groups;
  float *thresholds = resized(forest->thresholds, (size_t)block.first_threshold + block.n_tests, sizeof *thresholds);
  if (thresholds) forest->thresholds = thresholds;
  if (!blocks || !groups || !thresholds) return 0;
  for (uint32_t i = 0; i < block.n_tests; i++) thresholds[block.first_threshold + i] = INFINITY;
  number_tests(b->uses, n_uses, b->test_of, groups + block.first_group, thresholds + block.first_threshold);
  blocks[forest->n_blocks++] = block;
  if (block.n_tests > forest->most_tests) forest->most_tests = block.n_tests;
  return 1;
}

/* Nodes and operations of a tree in the bit form. Returns the number of operations. */
static uint32_t build_small_tree(const builder *b, uint32_t number, const numbering *leaves, lsd_tree *tree,
                                 lsd_small_node *nodes, lsd_plane_operation *operations) {
  const table *t = b->from;
  int32_t start = t->node_offset[number];
  uint32_t n_operations = 0;
  uint16_t bits[LEAVES_OF_A_SMALL_TREE][MAX_LEAF_BITS]; /* planes that number the leaf reached below a node */
  uint8_t height[LEAVES_OF_A_SMALL_TREE];
  for (tree->n_bits = 0; (1u << tree->n_bits) < leaves->n_nodes + 1; tree->n_bits++) {}
  for (uint32_t i = leaves->n_nodes; i-- > 0;) {
    int child[2] = {t->left[start + (int32_t)i], t->right[start + (int32_t)i]};
    uint16_t test = b->test_of[start + (int32_t)i];
    nodes[i].test = test;
    height[i] = 0;
    for (int side = 0; side < 2; side++) {
      int is_leaf = child[side] < 0;
      uint8_t below = is_leaf ? 0 : height[child[side]];
      nodes[i].child[side] = (uint8_t)(is_leaf ? IS_LEAF | leaves->number[~child[side]] : child[side]);
      if (below >= height[i]) height[i] = (uint8_t)(below + 1);
    }
    for (int bit = 0; bit < tree->n_bits; bit++) {
      uint16_t from[2];
      for (int side = 0; side < 2; side++)
        from[side] = child[side] >= 0 ? bits[child[side]][bit]
                                      : (leaves->number[~child[side]] >> bit & 1 ? PLANE_ONE : PLANE_ZERO);
      uint16_t plane = (uint16_t)(FIRST_TEST + test);
      if (from[0] == from[1])
        bits[i][bit] = from[0];
      else if (from[0] == PLANE_ZERO && from[1] == PLANE_ONE)
        bits[i][bit] = plane;
      else {
        operations[n_operations] = (lsd_plane_operation){plane, from[0], from[1]};
        bits[i][bit] = (uint16_t)(FIRST_RESULT + n_operations++);
      }
    }
  }
  if (leaves->n_nodes) {
    memcpy(tree->bit, bits[0], sizeof tree->bit);
    tree->depth = height[0];
  }
  return n_operations;
}

static int build_trees(builder *b, const void *leaf_value, uint32_t n_leaves) {
  const table *t = b->from;
  lsd_forest *forest = b->forest;
  size_t size = forest->is_double ? sizeof(double) : sizeof(float), room = 0;
  uint32_t n_operations = 0;
  forest->leaves = calloc((size_t)n_leaves + LEAVES_OF_A_SMALL_TREE, size);
  if (!forest->leaves) return 0;
  for (uint32_t number = 0; number < forest->n_trees; number++) {
    lsd_tree *tree = forest->trees + number;
    int32_t start = t->node_offset[number];
    char *to = (char *)forest->leaves + tree->leaf * size;
    const char *from = (const char *)leaf_value + tree->leaf * size;
    if (tree->is_walked) {
      for (int32_t i = start; i < start + tree->n_nodes; i++)
        forest->walked_nodes[i] = (lsd_walked_node){
            t->threshold[i], t->feature[i], t->default_left[i] != 1, {t->left[i], t->right[i]}};
      memcpy(to, from, (tree->n_nodes + 1u) * size);
      continue;
    }
    if (room < n_operations + (size_t)FIRST_TEST) { /* more than one tree can have */
      room = 2 * room + 64 * FIRST_TEST;
      lsd_plane_operation *more = resized(forest->operations, room, sizeof *more);
      if (!more) return 0;
      forest->operations = more;
    }
    numbering leaves;
    number_leaves(t, number, &leaves);
    tree->operation = n_operations;
    tree->n_operations = (uint16_t)build_small_tree(b, number, &leaves, tree, b->nodes + start,
                                                    forest->operations + n_operations);
    n_operations += tree->n_operations;
    for (uint32_t leaf = 0; leaf <= tree->n_nodes; leaf++)
      memcpy(to + leaves.number[leaf] * size, from + leaf * size, size);
  }
  return 1;
}

typedef struct {
  uint8_t depth;
  uint16_t place;
} visit;

static int order_of_visits(const void *a, const void *b) {
  const visit *x = a, *y = b;
  return x->depth != y->depth ? x->depth - y->depth : x->place - y->place;
}

static void loop_nodes(const lsd_small_node *nodes, uint32_t n, lsd_looped_node *looped) {
  for (uint32_t i = 0; i < n; i++) {
    looped[i].test = nodes[i].test;
    for (int side = 0; side < 2; side++) {
      uint32_t child = nodes[i].child[side];
      looped[i].step[side] = (uint8_t)((child & IS_LEAF ? n + (child & ~(uint32_t)IS_LEAF) : child) - i);
    }
  }
}

/* Nodes are laid out in the order of the visits, so that a row reads them from front to back. */
static int build_visits(lsd_forest *forest, const lsd_small_node *nodes, uint32_t n_nodes) {
  uint32_t n_laid_out = 0;
  int has_avx512 = lsd_has_isa(LSD_ISA_AVX512);
  lsd_visits *visits = &forest->visits;
  visits->node = resized(NULL, forest->n_trees + (size_t)1, sizeof *visits->node);
  visits->leaf = resized(NULL, forest->n_trees, sizeof *visits->leaf);
  visits->place = resized(NULL, forest->n_trees, sizeof *visits->place);
  visits->depth = resized(NULL, forest->n_trees, sizeof *visits->depth);
  if (has_avx512) forest->small_nodes = resized(NULL, n_nodes, sizeof *forest->small_nodes);
  forest->looped_nodes = calloc(2 * (size_t)n_nodes + forest->n_trees + 1, sizeof *forest->looped_nodes);
  if (!visits->node || !visits->leaf || !visits->place || !visits->depth || !forest->looped_nodes) return 0;
  if (has_avx512 && !forest->small_nodes) return 0;
  for (const lsd_forest_block *block = forest->blocks; block < forest->blocks + forest->n_blocks; block++)
    for (uint32_t done = 0; done < block->n_trees; done += TREES_OF_A_CHUNK) {
      uint32_t first = block->first_tree + done, left = block->n_trees - done;
      uint32_t n = left < TREES_OF_A_CHUNK ? left : TREES_OF_A_CHUNK;
      visit chunk[TREES_OF_A_CHUNK];
      for (uint32_t i = 0; i < n; i++) chunk[i] = (visit){forest->trees[first + i].depth, (uint16_t)i};
      qsort(chunk, n, sizeof *chunk, order_of_visits);
      for (uint32_t i = 0; i < n; i++) {
        const lsd_tree *tree = forest->trees + first + chunk[i].place;
        uint32_t n_own = tree->is_walked ? 0 : tree->n_nodes;
        visits->node[first + i] = n_laid_out;
        visits->leaf[first + i] = tree->leaf;
        visits->place[first + i] = chunk[i].place;
        visits->depth[first + i] = chunk[i].depth;
        if (has_avx512) memcpy(forest->small_nodes + n_laid_out, nodes + tree->node, n_own * sizeof *nodes);
        loop_nodes(nodes + tree->node, n_own, forest->looped_nodes + lsd_first_looped(visits, first + i));
        n_laid_out += n_own;
      }
    }
  visits->node[forest->n_trees] = n_laid_out;
  return 1;
}

static lsd_forest *build(const table *t, lsd_forest *forest, uint32_t n_nodes, uint32_t n_leaves,
                         const void *leaf_value) {
  int any_walked = 0;
  builder b = {t, forest, resized(NULL, n_nodes, sizeof(uint16_t)), resized(NULL, n_nodes, sizeof(use)),
               resized(NULL, n_nodes, sizeof(use)), resized(NULL, n_nodes, sizeof(lsd_small_node))};
  forest->trees = calloc(forest->n_trees + (size_t)1, sizeof *forest->trees);
  int fits = b.test_of && b.uses && b.spare && b.nodes && forest->trees;
  for (uint32_t i = 0; fits && i < forest->n_trees; i++) {
    numbering leaves;
    lsd_tree *tree = forest->trees + i;
    tree->node = (uint32_t)t->node_offset[i];
    tree->leaf = (uint32_t)t->leaf_offset[i];
    tree->n_nodes = (uint16_t)(t->node_offset[i + 1] - t->node_offset[i]);
    tree->is_walked = !number_leaves(t, i, &leaves);
    any_walked |= tree->is_walked;
  }
  if (fits && any_walked) {
    forest->walked_nodes = malloc(n_nodes * sizeof *forest->walked_nodes);
    fits = forest->walked_nodes != NULL;
  }
  fits = fits && build_blocks(&b, 0, forest->n_trees) && build_trees(&b, leaf_value, n_leaves) &&
         build_visits(forest, b.nodes, n_nodes);
  free(b.test_of);
  free(b.uses);
  free(b.spare);
  free(b.nodes);
  if (fits) return forest;
  lsd_forest_free(forest);
  return NULL;
}

lsd_forest *lsd_forest_new(int is_double, double base_margin, uint32_t n_features, uint32_t n_trees, uint32_t n_nodes,
                           uint32_t n_leaves, const int32_t *node_offset, const int32_t *leaf_offset,
                           const uint16_t *feature, const float *threshold, const uint8_t *default_left,
                           const int16_t *left, const int16_t *right, const void *leaf_value) {
  table t = {node_offset, leaf_offset, feature, threshold, default_left, left, right};
  if (2 * (uint64_t)n_nodes + n_trees >= INT32_MAX) return NULL; /* looped nodes have numbers of 31 bits */
  if (!is_sound(&t, n_features, n_trees, n_nodes, n_leaves)) return NULL;
  lsd_forest *forest = calloc(1, sizeof *forest);
  if (!forest) return NULL;
  forest->is_double = is_double;
  forest->base_margin = base_margin;
  forest->n_features = n_features;
  forest->n_trees = n_trees;
  return build(&t, forest, n_nodes, n_leaves, leaf_value);
}

void lsd_forest_free(lsd_forest *forest) {
  if (!forest) return;
  free(forest->blocks);
  free(forest->groups);
  free(forest->thresholds);
  free(forest->trees);
  free(forest->visits.node);
  free(forest->visits.leaf);
  free(forest->visits.place);
  free(forest->visits.depth);
  free(forest->operations);
  free(forest->small_nodes);
  free(forest->looped_nodes);
  free(forest->walked_nodes);
  free(forest->leaves);
  free(forest);
}
