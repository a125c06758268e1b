/* The exact median of one channel: part of the template statistics_kernels.h, with the same parameters.
 *
 * Selection by sampling (R. W. Floyd and R. L. Rivest, Expected time bounds for selection, CACM 18(3), 1975): two values
 * of a sample that are likely to enclose the wanted rank, one pass that keeps what lies between them, and again, until
 * so few are left that each one's rank can be counted. The includer defines BETWEEN(x, n, low, high, out, not_above):
 * the values above `low` and below `high` (NaN: no bound), in any order, to `out`; how many; and how many are not above
 * `low`. Every round drops the two bounds at least, so it ends whatever the values are.
 */

enum { NAME(SAMPLE) = 64, NAME(MARGIN) = 7 };

/* Of 64 values, those of ranks first and second (from 0). The value of rank r is the greatest with r or fewer below. */
TARGET static void NAME(ranked)(const T *x, int first, int second, T *at_first, T *at_second) {
  RANK below[64] = {0};
  T one[64], two[64];
  for (int j = 0; j < 64; j++)
    for (int i = 0; i < 64; i++) below[i] += x[j] < x[i];
  for (int i = 0; i < 64; i++) one[i] = below[i] <= first ? x[i] : -(T)INFINITY;
  for (int i = 0; i < 64; i++) two[i] = below[i] <= second ? x[i] : -(T)INFINITY;
  for (int width = 32; width; width /= 2)
    for (int i = 0; i < width; i++) {
      one[i] = one[i + width] > one[i] ? one[i + width] : one[i];
      two[i] = two[i + width] > two[i] ? two[i + width] : two[i];
    }
  *at_first = one[0];
  *at_second = two[0];
}

/* The least value above `bound`; `beyond` if there is none. */
TARGET static T NAME(next)(const T *x, size_t n, T bound, T beyond) {
  T least = beyond;
  for (size_t i = 0; i < n; i++) least = x[i] > bound && x[i] < least ? x[i] : least;
  return least;
}

/* The values of ranks `rank` and `rank` + 1 (or infinity, if that is n) of n values without NaN. */
TARGET static void NAME(selected)(const T *x, size_t n, size_t rank, T *scratch, T *at, T *after) {
  T *free[2] = {scratch, scratch + n + SLACK};
  T beyond = (T)INFINITY; /* the least value above those that are left */
  for (int round = 0; n > NAME(SAMPLE); round++) {
    T sample[64], low, high;
    size_t step = n / 64 - (n / 64 % 2 == 0); /* odd: not along the columns of a patch */
    for (size_t i = 0; i < 64; i++) sample[i] = x[i * step];
    int middle = (int)(rank * 64 / n), left = middle - NAME(MARGIN), right = middle + NAME(MARGIN);
    NAME(ranked)(sample, left, right, &low, &high);
    if (left < 0) low = (T)NAN;
    if (right > 63) high = (T)NAN;
    T *out = free[round % 2];
    size_t not_above, inside = BETWEEN(x, n, low, high, out, &not_above);
    if (rank < not_above) { /* at `low` or below it */
      size_t nothing, less = BETWEEN(x, n, (T)NAN, low, out, &nothing);
      if (rank >= less) {
        *at = low;
        *after = rank + 1 < not_above ? low : NAME(next)(x, n, low, beyond);
        return;
      }
      x = out, n = less, beyond = low;
    } else if (rank < not_above + inside) {
      x = out, n = inside, rank -= not_above;
      if (high == high) beyond = high;
    } else { /* at `high` or above it */
      size_t not_more, more = BETWEEN(x, n, high, (T)NAN, out, &not_more);
      if (rank < not_more) {
        *at = high;
        *after = rank + 1 < not_more ? high : NAME(next)(x, n, high, beyond);
        return;
      }
      x = out, n = more, rank -= not_more;
    }
  }
  T rest[64];
  for (size_t i = 0; i < 64; i++) rest[i] = i < n ? x[i] : (T)INFINITY;
  NAME(ranked)(rest, (int)rank, (int)rank + 1, at, after);
  if (rank + 1 >= n) *after = beyond;
}

/* As numpy.median: the value in the middle, or the mean of the two there. */
TARGET static double NAME(median)(const T *x, size_t n, T *scratch) {
  T lower, upper;
  NAME(selected)(x, n, (n - 1) / 2, scratch, &lower, &upper);
  return n % 2 ? (double)lower : ((double)lower + (double)upper) / 2.0;
}
