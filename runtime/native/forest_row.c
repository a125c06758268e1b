/* Margins of single rows: the tests of a block first, then trees are walked by their results, several at once so that
 * their loads overlap, and leaves are added in the order of the trees. */
#include "forest.h"

#include <string.h>

#include "lsd_native.h"

/* Trees first to first + n of the forest's visits, n <= TREES_OF_A_CHUNK. */
typedef struct {
  uint32_t first, n;
} chunk;

/* --- plain C ------------------------------------------------------------------------------------------------------ */

enum { TREES_AT_ONCE = 8 };

/* right[test]: 1 where the row goes right. */
static void compare_row(const lsd_forest *forest, const lsd_forest_block *block, const float *row, uint8_t *right) {
  for (uint32_t i = 0; i < block->n_groups; i++) {
    const lsd_test_group *group = forest->groups + block->first_group + i;
    const float *threshold = forest->thresholds + block->first_threshold + group->first, value = row[group->feature];
    if (group->nan_goes_right && value != value)
      memset(right + group->first, 1, group->count);
    else
      for (uint32_t j = 0; j < group->count; j++) right[group->first + j] = value > threshold[j];
  }
}

/* leaf[place]: the leaf, counted in the forest, that the row reaches. A tree that has ended waits for the others. */
static void visit(const lsd_forest *forest, chunk trees, const uint8_t *right, uint32_t *leaf) {
  const lsd_visits *visits = &forest->visits;
  for (uint32_t done = 0; done < trees.n; done += TREES_AT_ONCE) {
    uint32_t first = trees.first + done, n = trees.n - done < TREES_AT_ONCE ? trees.n - done : TREES_AT_ONCE;
    uint32_t deepest = first + n - 1;
    const lsd_small_node *nodes[TREES_AT_ONCE];
    uint8_t child[TREES_AT_ONCE];
    for (uint32_t i = 0; i < TREES_AT_ONCE; i++) {
      int is_leaf = i >= n || visits->depth[first + i] == 0;
      nodes[i] = forest->small_nodes + visits->node[is_leaf ? deepest : first + i];
      child[i] = is_leaf ? IS_LEAF : 0;
    }
    for (int level = visits->depth[deepest]; level > 0; level--)
#pragma GCC unroll 16
      for (uint32_t i = 0; i < TREES_AT_ONCE; i++) {
        const lsd_small_node *node = nodes[i] + (child[i] & IS_LEAF ? 0 : child[i]);
        uint8_t next = node->child[right[node->test]];
        child[i] = child[i] & IS_LEAF ? child[i] : next;
      }
    for (uint32_t i = 0; i < n; i++)
      leaf[visits->place[first + i]] = visits->leaf[first + i] + (child[i] & ~(uint32_t)IS_LEAF);
  }
}

static inline chunk chunk_of(const lsd_forest_block *block, uint32_t done) {
  uint32_t left = block->n_trees - done;
  return (chunk){block->first_tree + done, left < TREES_OF_A_CHUNK ? left : TREES_OF_A_CHUNK};
}

typedef struct {
  double real;
  float single;
} row_sum; /* one of them is used */

static void add(const lsd_forest *forest, chunk trees, const float *row, uint32_t *leaf, row_sum *sum) {
  if (forest->walked_nodes)
    for (uint32_t i = 0; i < trees.n; i++) {
      const lsd_tree *tree = forest->trees + trees.first + i;
      if (tree->is_walked) leaf[i] = tree->leaf + lsd_walk(forest->walked_nodes + tree->node, row);
    }
  if (forest->is_double)
    for (uint32_t i = 0; i < trees.n; i++) sum->real += ((const double *)forest->leaves)[leaf[i]];
  else
    for (uint32_t i = 0; i < trees.n; i++) sum->single += ((const float *)forest->leaves)[leaf[i]];
}

static void add_row(const lsd_forest *forest, const float *row, row_sum *sum) {
  uint8_t right[MAX_PLANES];
  uint32_t leaf[TREES_OF_A_CHUNK];
  for (const lsd_forest_block *block = forest->blocks; block < forest->blocks + forest->n_blocks; block++) {
    compare_row(forest, block, row, right);
    for (uint32_t done = 0; done < block->n_trees; done += TREES_OF_A_CHUNK) {
      chunk trees = chunk_of(block, done);
      visit(forest, trees, right, leaf);
      add(forest, trees, row, leaf, sum);
    }
  }
}

/* --- AVX-512 ------------------------------------------------------------------------------------------------------ */

#if defined(__x86_64__)
#include <immintrin.h>

#define TARGET_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))

enum { VECTORS_AT_ONCE = 4, LANES = 16 }; /* 64 trees */

/* right: bits of all tests. */
TARGET_AVX512 static void compare_row_avx512(const lsd_forest *forest, const lsd_forest_block *block, const float *row,
                                             uint16_t *right) {
  for (uint32_t i = 0; i < block->n_groups; i++) {
    const lsd_test_group *group = forest->groups + block->first_group + i;
    const float *threshold = forest->thresholds + block->first_threshold + group->first;
    __m512 value = _mm512_set1_ps(row[group->feature]);
    for (uint32_t j = 0; j < group->count; j += 16) {
      __m512 limits = _mm512_loadu_ps(threshold + j);
      right[(group->first + j) / 16] = group->nan_goes_right ? _mm512_cmp_ps_mask(value, limits, _CMP_NLE_UQ)
                                                             : _mm512_cmp_ps_mask(value, limits, _CMP_GT_OQ);
    }
  }
}

/* One step down in sixteen trees: the lanes of `going` have not reached their leaf. */
TARGET_AVX512 static inline void step_avx512(const lsd_small_node *nodes, const uint32_t *right, __m512i root,
                                             __m512i *child, __mmask16 *going) {
  const __m512i zero = _mm512_setzero_si512();
  __m512i node = _mm512_mask_i32gather_epi32(zero, *going, _mm512_add_epi32(root, *child), nodes, sizeof *nodes);
  __m512i test = _mm512_and_si512(node, _mm512_set1_epi32(0xffff));
  __m512i word = _mm512_mask_i32gather_epi32(zero, *going, _mm512_srli_epi32(test, 5), right, sizeof *right);
  __m512i bit = _mm512_srlv_epi32(word, _mm512_and_si512(test, _mm512_set1_epi32(31)));
  __mmask16 goes_right = _mm512_test_epi32_mask(bit, _mm512_set1_epi32(1));
  __m512i next = _mm512_and_si512(_mm512_srli_epi32(node, 16), _mm512_set1_epi32(0xff));
  next = _mm512_mask_srli_epi32(next, goes_right, node, 24);
  *child = _mm512_mask_mov_epi32(*child, *going, next);
  *going = _mm512_mask_testn_epi32_mask(*going, next, _mm512_set1_epi32(IS_LEAF));
}

/* As visit; right holds bits. Leaves are asked for early: they are what the caches hold least. */
TARGET_AVX512 static void visit_avx512(const lsd_forest *forest, chunk trees, const uint32_t *right, uint32_t *leaf) {
  const lsd_visits *visits = &forest->visits;
  const size_t leaf_size = forest->is_double ? sizeof(double) : sizeof(float);
  for (uint32_t done = 0; done < trees.n; done += VECTORS_AT_ONCE * LANES) {
    uint32_t first = trees.first + done, left = trees.n - done;
    uint32_t n = left < VECTORS_AT_ONCE * LANES ? left : VECTORS_AT_ONCE * LANES;
    uint64_t all_used = ~(uint64_t)0 >> (VECTORS_AT_ONCE * LANES - n);
    __m512i root[VECTORS_AT_ONCE], child[VECTORS_AT_ONCE];
    __mmask16 going[VECTORS_AT_ONCE];
    for (int v = 0; v < VECTORS_AT_ONCE; v++) {
      __mmask16 used = (__mmask16)(all_used >> LANES * v);
      __m128i depth = _mm_maskz_loadu_epi8(used, visits->depth + first + LANES * v);
      root[v] = _mm512_maskz_loadu_epi32(used, visits->node + first + LANES * v);
      child[v] = _mm512_setzero_si512();
      going[v] = _mm_test_epi8_mask(depth, depth);
    }
    for (int level = visits->depth[first + n - 1]; level > 0; level--)
#pragma GCC unroll 4
      for (int v = 0; v < VECTORS_AT_ONCE; v++)
        step_avx512(forest->small_nodes, right, root[v], child + v, going + v);
    uint32_t number[VECTORS_AT_ONCE * LANES];
    for (int v = 0; v < VECTORS_AT_ONCE; v++)
      _mm512_storeu_si512(number + LANES * v, _mm512_andnot_si512(_mm512_set1_epi32(IS_LEAF), child[v]));
    for (uint32_t i = 0; i < n; i++) {
      uint32_t reached = visits->leaf[first + i] + number[i];
      __builtin_prefetch((const char *)forest->leaves + reached * leaf_size);
      leaf[visits->place[first + i]] = reached;
    }
  }
}

TARGET_AVX512 static void add_row_avx512(const lsd_forest *forest, const float *row, row_sum *sum) {
  uint32_t right[MAX_PLANES / 32], leaf[TREES_OF_A_CHUNK];
  for (const lsd_forest_block *block = forest->blocks; block < forest->blocks + forest->n_blocks; block++) {
    compare_row_avx512(forest, block, row, (uint16_t *)right);
    for (uint32_t done = 0; done < block->n_trees; done += TREES_OF_A_CHUNK) {
      chunk trees = chunk_of(block, done);
      visit_avx512(forest, trees, right, leaf);
      add(forest, trees, row, leaf, sum);
    }
  }
}
#endif

void lsd_forest_margins_by_row(const lsd_forest *forest, const float *rows, size_t n, void *margins, int isa) {
  for (size_t i = 0; i < n; i++, rows += forest->n_features) {
    row_sum sum = {forest->base_margin, (float)forest->base_margin};
#if defined(__x86_64__)
    if (isa == LSD_ISA_AVX512)
      add_row_avx512(forest, rows, &sum);
    else
#endif
      add_row(forest, rows, &sum);
    if (forest->is_double)
      ((double *)margins)[i] = sum.real;
    else
      ((float *)margins)[i] = sum.single;
  }
  (void)isa;
}
