/* The parts of forest_planes.h in plain C, which compilers turn into SSE2 or NEON. */

static void transpose_portable(const float *rows, size_t n, size_t n_features, size_t width, float *columns,
                               size_t floats_a_column) {
  for (size_t row = 0; row < n; row++)
    for (size_t i = 0; i < width; i++) columns[i * floats_a_column + row] = rows[row * n_features + i];
}

/* Bits of value > threshold for 64 rows: compared as bytes, which vectorises, and gathered eight at a time. */
static inline uint64_t compare_word(const float *values, float threshold, int nan_goes_right) {
  uint8_t right[64];
  uint64_t word = 0;
  if (nan_goes_right)
    for (int i = 0; i < 64; i++) right[i] = !(values[i] <= threshold);
  else
    for (int i = 0; i < 64; i++) right[i] = values[i] > threshold;
  for (int i = 0; i < 8; i++) {
    uint64_t eight = 0; /* byte j is 0 or 1; the product puts its bit at 56 + j */
    for (int j = 0; j < 8; j++) eight |= (uint64_t)right[8 * i + j] << 8 * j;
    word |= (eight * UINT64_C(0x0102040810204080) >> 56) << 8 * i;
  }
  return word;
}

static void compare_portable(const float *column, const float *threshold, size_t n, int nan_goes_right, size_t n_words,
                             uint64_t *plane, size_t words_a_plane) {
  for (size_t test = 0; test < n; test++, plane += words_a_plane)
    for (size_t word = 0; word < n_words; word++)
      plane[word] = compare_word(column + 64 * word, threshold[test], nan_goes_right);
}

/* SPREAD[b]: byte j is bit j of b. */
#define SPREAD_1(b)                                                                                            \
  (((b) >> 0 & UINT64_C(1)) << 0 | ((b) >> 1 & UINT64_C(1)) << 8 | ((b) >> 2 & UINT64_C(1)) << 16 |            \
   ((b) >> 3 & UINT64_C(1)) << 24 | ((b) >> 4 & UINT64_C(1)) << 32 | ((b) >> 5 & UINT64_C(1)) << 40 |          \
   ((b) >> 6 & UINT64_C(1)) << 48 | ((b) >> 7 & UINT64_C(1)) << 56)
#define SPREAD_4(b) SPREAD_1(b), SPREAD_1((b) + 1), SPREAD_1((b) + 2), SPREAD_1((b) + 3)
#define SPREAD_16(b) SPREAD_4(b), SPREAD_4((b) + 4), SPREAD_4((b) + 8), SPREAD_4((b) + 12)
#define SPREAD_64(b) SPREAD_16(b), SPREAD_16((b) + 16), SPREAD_16((b) + 32), SPREAD_16((b) + 48)
static const uint64_t SPREAD[256] = {SPREAD_64(0), SPREAD_64(64), SPREAD_64(128), SPREAD_64(192)};

#define ADD_PORTABLE(NAME_OF_IT, REAL)                                                                         \
  static void NAME_OF_IT(const uint64_t *planes, const lsd_tree *tree, const REAL *leaves, size_t n_words,     \
                         REAL *sums, size_t words_a_plane) {                                                   \
    for (size_t word = 0; word < n_words; word++)                                                              \
      for (int eighth = 0; eighth < 8; eighth++, sums += 8) {                                                  \
        uint64_t numbers = 0; /* of the leaves of eight rows, a byte each */                                   \
        for (int bit = 0; bit < tree->n_bits; bit++)                                                           \
          numbers |= SPREAD[planes[tree->bit[bit] * words_a_plane + word] >> 8 * eighth & 0xff] << bit;        \
        for (int row = 0; row < 8; row++) sums[row] += leaves[numbers >> 8 * row & 0xff];                      \
      }                                                                                                        \
  }
ADD_PORTABLE(add_double_portable, double)
ADD_PORTABLE(add_float_portable, float)

static inline size_t place_portable(size_t row) { return row; }
