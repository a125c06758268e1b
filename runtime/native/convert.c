/* Stored values made canonical float32 in one pass, from memory or straight from the blocks of an uncompressed file.
 *
 * A window of a tile is 1 MB a band: the values are converted while the piece that was just read is in the cache, and
 * written once, where they are to lie. The compiler makes vectors of the plain loops.
 */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "lsd_native.h"

#define PIECE_BYTES (1 << 17) /* read at a time: less than the cache of a core */
#define RUN 1024              /* values at a time where several loops follow each other */

typedef void values_of(const void *stored, int64_t n, float nodata, float zero, float *out);

#define VALUES(ISA, TARGET, NAME, TYPE)                                                                 \
  TARGET static void NAME##_##ISA(const void *stored, int64_t n, float nodata, float zero, float *out) {\
    const TYPE *in = stored;                                                                            \
    for (int64_t i = 0; i < n; i++) {                                                                   \
      float x = (float)in[i];                                                                           \
      out[i] = (x - x != 0.0f) | (x == nodata) | (x == zero) ? NAN : x;                                 \
    }                                                                                                   \
  }

/* The loops for one instruction set; the numbers are in the order of enum lsd_stored. */
#define LOOPS(ISA, TARGET)                                                                              \
  VALUES(ISA, TARGET, of_uint8, uint8_t)                                                                \
  VALUES(ISA, TARGET, of_int8, int8_t)                                                                  \
  VALUES(ISA, TARGET, of_uint16, uint16_t)                                                              \
  VALUES(ISA, TARGET, of_int16, int16_t)                                                                \
  VALUES(ISA, TARGET, of_float32, float)                                                                \
  TARGET static void keep_dark_##ISA(const float *x, int64_t n, uint8_t *unseen) {                      \
    for (int64_t i = 0; i < n; i++) unseen[i] &= !(fabsf(x[i]) > 0.0f);                                 \
  }                                                                                                     \
  TARGET static void add_1000_##ISA(float *x, int64_t n) {                                              \
    for (int64_t i = 0; i < n; i++) {                                                                   \
      float more = x[i] + 1000.0f;                                                                      \
      x[i] = x[i] != 0.0f ? more : x[i];                                                                \
    }                                                                                                   \
  }                                                                                                     \
  TARGET static void to_dn_##ISA(float *x, int64_t n) {                                                 \
    for (int64_t i = 0; i < n; i++) x[i] = 10000.0f * x[i] + 1000.0f;                                   \
  }                                                                                                     \
  TARGET static void mark_##ISA(float *x, int64_t n, float least, float most, uint8_t *marked) {        \
    for (int64_t i = 0; i < n; i++) {                                                                   \
      int outside = (x[i] < least) | (x[i] > most);                                                     \
      marked[i] |= outside;                                                                             \
      x[i] = outside ? NAN : x[i];                                                                      \
    }                                                                                                   \
  }                                                                                                     \
  static const struct loops loops_##ISA = {                                                             \
      {of_uint8_##ISA, of_int8_##ISA, of_uint16_##ISA, of_int16_##ISA, of_float32_##ISA},               \
      keep_dark_##ISA, mark_##ISA,                                                                      \
      {0, add_1000_##ISA, to_dn_##ISA},                                                                 \
  };

struct loops {
  values_of *values[LSD_STORED];
  void (*keep_dark)(const float *x, int64_t n, uint8_t *unseen);
  void (*mark)(float *x, int64_t n, float least, float most, uint8_t *marked);
  void (*convert[3])(float *x, int64_t n); /* by enum lsd_conversion */
};

LOOPS(portable, )
#if defined(__x86_64__)
LOOPS(avx2, __attribute__((target("avx2"))))
LOOPS(avx512, __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl"))))
#endif

static const struct loops *loops_of(int isa) {
  if (isa == LSD_ISA_BEST) isa = lsd_best_isa();
  if (!lsd_has_isa(isa)) return 0;
#if defined(__x86_64__)
  if (isa == LSD_ISA_AVX512) return &loops_avx512;
  if (isa == LSD_ISA_AVX2) return &loops_avx2;
#endif
  return &loops_portable;
}

static const int64_t bytes_of[LSD_STORED] = {1, 1, 2, 2, 4};

/* Where values go: `unseen` and `marked` lie as `out` does, or are null. */
struct into {
  float *out;
  uint8_t *unseen, *marked;
};

static struct into further(struct into into, int64_t n) {
  return (struct into){into.out + n, into.unseen ? into.unseen + n : 0, into.marked ? into.marked + n : 0};
}

static void convert(const struct loops *loops, const char *stored, int64_t n, const struct lsd_rule *rule,
                    struct into into) {
  for (int64_t i = 0; i < n; i += RUN) {
    int64_t some = n - i < RUN ? n - i : RUN;
    struct into at = further(into, i);
    loops->values[rule->stored](stored + i * bytes_of[rule->stored], some, rule->nodata, rule->zero, at.out);
    if (at.unseen) loops->keep_dark(at.out, some, at.unseen);
    if (rule->conversion != LSD_AS_IT_IS) loops->convert[rule->conversion](at.out, some);
    if (at.marked) loops->mark(at.out, some, rule->least, rule->most, at.marked);
  }
}

int lsd_convert(const void *stored, int64_t n, const struct lsd_rule *rule, int isa, float *out, uint8_t *unseen,
                uint8_t *marked) {
  const struct loops *loops = loops_of(isa);
  if (!loops) return LSD_NO_SUCH_ISA;
  convert(loops, stored, n, rule, (struct into){out, unseen, marked});
  return LSD_DONE;
}

static int read_whole(int file, char *into, int64_t n, int64_t offset) {
  while (n > 0) {
    ssize_t got = pread(file, into, (size_t)n, (off_t)offset);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return LSD_NOT_READ;
    into += got, offset += got, n -= got;
  }
  return LSD_DONE;
}

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

/* The part of a window that lies in one block: rows [top, bottom) and columns [left, right) of the block. */
struct part {
  int64_t offset, top, bottom, left, right;
};

/* Whole rows of the block, several at a time, where most of them is wanted; else what is wanted of each row. */
static int convert_part(int file, const struct lsd_blocks *blocks, const struct part *part, const struct loops *loops,
                        const struct lsd_rule *rule, char *piece, struct into into, int64_t stride) {
  int64_t bytes = bytes_of[rule->stored], wanted = part->right - part->left;
  int whole = 2 * wanted >= blocks->block_width;
  int64_t first = whole ? 0 : part->left, length = whole ? blocks->block_width : wanted;
  int64_t rows = whole ? most(1, PIECE_BYTES / (length * bytes)) : 1;
  for (int64_t y = part->top; y < part->bottom; y += rows) {
    int64_t some = least(rows, part->bottom - y);
    int64_t offset = part->offset + (y * blocks->block_width + first) * bytes;
    if (read_whole(file, piece, some * length * bytes, offset)) return LSD_NOT_READ;
    for (int64_t row = 0; row < some; row++) {
      const char *stored = piece + (row * length + part->left - first) * bytes;
      convert(loops, stored, wanted, rule, into);
      into = further(into, stride);
    }
  }
  return LSD_DONE;
}

int lsd_convert_blocks(int file, const struct lsd_blocks *blocks, int64_t y, int64_t x, int64_t height, int64_t width,
                       const struct lsd_rule *rule, int isa, float *out, uint8_t *unseen, uint8_t *marked) {
  const struct loops *loops = loops_of(isa);
  if (!loops) return LSD_NO_SUCH_ISA;
  int64_t down = blocks->block_height, along = blocks->block_width;
  char *piece = malloc((size_t)most(PIECE_BYTES, along * bytes_of[rule->stored]));
  if (!piece) return LSD_NO_MEMORY;
  int status = LSD_DONE;
  for (int64_t by = y / down; by * down < y + height && !status; by++)
    for (int64_t bx = x / along; bx * along < x + width && !status; bx++) {
      struct part part = {
          blocks->offsets[by * blocks->across + bx],
          most(0, y - by * down),
          least(down, y + height - by * down),
          most(0, x - bx * along),
          least(along, x + width - bx * along),
      };
      int64_t at = (by * down + part.top - y) * width + bx * along + part.left - x;
      struct into into = further((struct into){out, unseen, marked}, at);
      status = convert_part(file, blocks, &part, loops, rule, piece, into, width);
    }
  free(piece);
  return status;
}
