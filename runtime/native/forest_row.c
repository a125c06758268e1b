/* Margins of single rows: the tests of a block first, then trees are walked by their results, several at once so that
 * their loads overlap, and leaves are added in the order of the trees. */
#include "forest.h"

#include <string.h>

#include "lsd_native.h"

/* Trees first to first + n of the forest's visits, n <= TREES_OF_A_CHUNK. */
typedef struct {
  uint32_t first, n;
} chunk;

#define INLINE static inline __attribute__((always_inline))

/* --- plain C ------------------------------------------------------------------------------------------------------ */

enum { TREES_AT_ONCE = 12, TESTS_AT_ONCE = TESTS_ALIGNED_TO }; /* TESTS_AT_ONCE: a loop that compilers vectorise */

/* Bytes of a group's tests, TESTS_AT_ONCE at a time: 1 where the value goes right. */
INLINE void compare_group(float value, const lsd_test_group *group, const float *restrict threshold,
                          uint8_t *restrict right) {
  if (group->nan_goes_right)
    for (uint32_t i = 0; i < group->count; i += TESTS_AT_ONCE)
      for (int j = 0; j < TESTS_AT_ONCE; j++) right[i + j] = !(value <= threshold[i + j]);
  else
    for (uint32_t i = 0; i < group->count; i += TESTS_AT_ONCE)
      for (int j = 0; j < TESTS_AT_ONCE; j++) right[i + j] = value > threshold[i + j];
}

/* right[test], of all tests of a block. */
INLINE void compare_tests(const lsd_forest *forest, const lsd_forest_block *block, const float *row,
                          uint8_t *restrict right) {
  for (uint32_t i = 0; i < block->n_groups; i++) {
    const lsd_test_group *group = forest->groups + block->first_group + i;
    compare_group(row[group->feature], group, forest->thresholds + block->first_threshold + group->first,
                  right + group->first);
  }
}

static void compare_row(const lsd_forest *forest, const lsd_forest_block *block, const float *row, uint8_t *right) {
  compare_tests(forest, block, row, right);
}

INLINE void ask_for_leaf(const lsd_forest *forest, uint32_t leaf) {
  const size_t leaf_bytes = forest->is_double ? sizeof(double) : sizeof(float);
  __builtin_prefetch((const char *)forest->leaves + leaf * leaf_bytes);
}

/* leaf[place]: the leaf, counted in the forest, that the row reaches. A tree that has ended stays at its leaf. The next
 * trees and the leaves reached are asked for early: they are what the caches hold least. */
static void visit(const lsd_forest *forest, chunk trees, const uint8_t *right, uint32_t *leaf) {
  const lsd_visits *visits = &forest->visits;
  const lsd_looped_node *nodes = forest->looped_nodes;
  for (uint32_t done = 0; done < trees.n; done += TREES_AT_ONCE) {
    uint32_t first = trees.first + done, left = trees.n - done, n = left < TREES_AT_ONCE ? left : TREES_AT_ONCE;
    const lsd_looped_node *at[TREES_AT_ONCE];
    for (uint32_t i = 0; i < TREES_AT_ONCE; i++) at[i] = nodes + lsd_first_looped(visits, first + (i < n ? i : 0));
    for (uint32_t i = n; i < left && i < 2 * TREES_AT_ONCE; i++)
      __builtin_prefetch(nodes + lsd_first_looped(visits, first + i));
    for (int level = visits->depth[first + n - 1]; level > 0; level--)
#pragma GCC unroll 16
      for (uint32_t i = 0; i < TREES_AT_ONCE; i++) at[i] += at[i]->step[right[at[i]->test]];
    for (uint32_t i = 0; i < n; i++) {
      uint32_t number = (uint32_t)(at[i] - nodes) - lsd_first_looped_leaf(visits, first + i);
      uint32_t reached = visits->leaf[first + i] + number;
      ask_for_leaf(forest, reached);
      leaf[visits->place[first + i]] = reached;
    }
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

typedef void compare_function(const lsd_forest *, const lsd_forest_block *, const float *, uint8_t *);

static void add_row(const lsd_forest *forest, const float *row, row_sum *sum, compare_function *compare) {
  uint8_t right[MAX_PLANES];
  uint32_t leaf[TREES_OF_A_CHUNK];
  for (const lsd_forest_block *block = forest->blocks; block < forest->blocks + forest->n_blocks; block++) {
    compare(forest, block, row, right);
    for (uint32_t done = 0; done < block->n_trees; done += TREES_OF_A_CHUNK) {
      chunk trees = chunk_of(block, done);
      visit(forest, trees, right, leaf);
      add(forest, trees, row, leaf, sum);
    }
  }
}

/* --- AVX2: another comparison, the same walk. With gathers it took 1.4 to 2.2 times as long (Sapphire Rapids). ---- */

#if defined(__x86_64__)
#include <immintrin.h>

#define TARGET_AVX2 __attribute__((target("avx2")))

TARGET_AVX2 static inline __m256i compare_avx2(__m256 value, const float *threshold, int nan_goes_right) {
  __m256 limits = _mm256_loadu_ps(threshold);
  return _mm256_castps_si256(nan_goes_right ? _mm256_cmp_ps(value, limits, _CMP_NLE_UQ)
                                            : _mm256_cmp_ps(value, limits, _CMP_GT_OQ));
}

TARGET_AVX2 static void compare_row_avx2(const lsd_forest *forest, const lsd_forest_block *block, const float *row,
                                         uint8_t *right) {
  for (uint32_t i = 0; i < block->n_groups; i++) {
    const lsd_test_group *group = forest->groups + block->first_group + i;
    const float *threshold = forest->thresholds + block->first_threshold + group->first;
    const __m256 value = _mm256_set1_ps(row[group->feature]);
    for (uint32_t j = 0; j < group->count; j += TESTS_AT_ONCE) {
      __m256i words = _mm256_packs_epi32(compare_avx2(value, threshold + j, group->nan_goes_right),
                                         compare_avx2(value, threshold + j + 8, group->nan_goes_right));
      __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
      bytes = _mm_shuffle_epi32(bytes, _MM_SHUFFLE(3, 1, 2, 0)); /* both packed their halves apart */
      _mm_storeu_si128((__m128i *)(right + group->first + j), _mm_and_si128(bytes, _mm_set1_epi8(1)));
    }
  }
}
#endif

/* --- AVX-512 ------------------------------------------------------------------------------------------------------ */

#if defined(__x86_64__)
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

/* As visit; right holds bits. */
TARGET_AVX512 static void visit_avx512(const lsd_forest *forest, chunk trees, const uint32_t *right, uint32_t *leaf) {
  const lsd_visits *visits = &forest->visits;
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
      ask_for_leaf(forest, reached);
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

static void add_row_in(int isa, const lsd_forest *forest, const float *row, row_sum *sum) {
#if defined(__x86_64__)
  if (isa == LSD_ISA_AVX512) {
    add_row_avx512(forest, row, sum);
    return;
  }
  if (isa == LSD_ISA_AVX2) {
    add_row(forest, row, sum, compare_row_avx2);
    return;
  }
#endif
  (void)isa; /* NEON is part of every aarch64: the plain C becomes NEON there */
  add_row(forest, row, sum, compare_row);
}

void lsd_forest_margins_by_row(const lsd_forest *forest, const float *rows, size_t n, void *margins, int isa) {
  for (size_t i = 0; i < n; i++, rows += forest->n_features) {
    row_sum sum = {forest->base_margin, (float)forest->base_margin};
    add_row_in(isa, forest, rows, &sum);
    if (forest->is_double)
      ((double *)margins)[i] = sum.real;
    else
      ((float *)margins)[i] = sum.single;
  }
}
