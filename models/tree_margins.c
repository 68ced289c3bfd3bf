/* Raw margins of rows by a forest, equal to the bit to LightGBM's.
 *
 * A split asks whether a value is at most its threshold. All that matters of a value is its rank, the number of its
 * feature's thresholds that are below it, so a row is ranked once and trees compare 16-bit integers. A node has 4 bytes;
 * a leaf is a node that leads to itself, so a walk of the tree's depth ends in a leaf without a branch. A single row
 * walks several trees at a time, several rows walk one tree at a time: the processor overlaps their loads.
 *
 * A feature has a column of ranks for each way in which its splits treat missing values and zeros. A split by
 * categories asks whether a value is in a set: a feature that has such splits has one more column, of the value's place
 * among all categories that its splits know, one behind them for any other value; of a node of that column `rank` is the
 * number of a set of bits, one for each place. Those columns come last. Forests without them are walked by code that
 * does not ask, and leaves name the first column, which is never one of categories. The caller lays the
 * forest out (models/tree_kernel.py) and vouches for it. Nothing here is written but `margins`, so threads may share a
 * forest. Leaves are added in the order of the trees, starting at 0, as LightGBM adds them: compile without -ffast-math.
 */

#include <math.h>
#include <stdint.h>

enum { LANES = 8, MOST_COLUMNS = 256 };
/* Lanes stay in registers only if their loop is unrolled; some compilers have to be told. */
#define EACH_LANE _Pragma("GCC unroll 8") for (int lane = 0; lane < LANES; lane++)

/* Clang makes a branch of a search's steps, which the processor guesses wrongly half of the time. */
#ifdef __clang__
#define EVEN_ODDS(condition) __builtin_unpredictable(condition)
#else
#define EVEN_ODDS(condition) (condition)
#endif

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* `rank`: of the threshold, or number of the set; 65535 in a leaf, which no rank exceeds. `left`: of the tree's nodes;
 * right is the next. */
struct node {
    uint16_t rank;
    uint8_t column, left;
};

struct feature {
    int64_t place;                  /* in the row */
    int64_t first, count;           /* of its thresholds, which rise strictly */
    int64_t column, column_count;   /* of its ranks */
};

struct categories {
    int64_t place;                  /* in the row */
    int64_t first, count;           /* of those that splits know, which rise strictly */
    int64_t bits, words;            /* the first word of set 0, and the words of each set */
};

struct forest {
    int64_t trees, width, feature_count, category_count, first_category; /* the first column of categories */
    const struct feature *features; /* those that have splits */
    const double *thresholds;
    const uint16_t *zero_ranks, *nan_ranks; /* what zero and NaN become in each column */
    const struct node *nodes;
    const int64_t *roots, *depths;  /* of each tree */
    const double *values;           /* of each node that is a leaf */
    const struct categories *categories;
    const double *known;            /* categories */
    const uint32_t *bits;
    double zero;                    /* LightGBM takes magnitudes up to this for 0 */
};

/* Return how many of n thresholds are below x; n is at least 1. */
static inline int64_t count_below(const double *thresholds, int64_t n, double x)
{
    int64_t base = 0;
    for (; n > 1; n -= n >> 1)
        base += EVEN_ODDS(thresholds[base + (n >> 1) - 1] < x) ? n >> 1 : 0;
    return base + (thresholds[base] < x);
}

static void rank_row(const struct forest *f, const double *row, uint16_t *ranks)
{
    for (int64_t i = 0; i < f->feature_count; i++) {
        const struct feature *feature = f->features + i;
        int64_t end = feature->column + feature->column_count;
        double x = row[feature->place];
        if (isnan(x) || fabs(x) <= f->zero) {
            const uint16_t *found = isnan(x) ? f->nan_ranks : f->zero_ranks;
            for (int64_t c = feature->column; c < end; c++)
                ranks[c] = found[c];
            continue;
        }
        uint16_t rank = (uint16_t)count_below(f->thresholds + feature->first, feature->count, x);
        for (int64_t c = feature->column; c < end; c++)
            ranks[c] = rank;
    }
    for (int64_t i = 0; i < f->category_count; i++) {
        const struct categories *categories = f->categories + i;
        const double *known = f->known + categories->first;
        double x = row[categories->place];
        int64_t at = count_below(known, categories->count, x); /* 0 of NaN */
        if (at < categories->count && known[at] != x)
            at = categories->count;
        ranks[f->first_category + i] = (uint16_t)at;
    }
}

ALWAYS_INLINE uint32_t step(
    const struct forest *f, const struct node *tree, uint32_t at, const uint16_t *ranks, int sets)
{
    struct node node = tree[at];
    uint32_t rank = ranks[node.column];
    if (!sets || node.column < f->first_category)
        return node.left + (rank > node.rank);
    const struct categories *categories = f->categories + (node.column - f->first_category);
    uint32_t word = f->bits[categories->bits + node.rank * categories->words + (rank >> 5)];
    return node.left + !(word >> (rank & 31) & 1);
}

/* Walk LANES trees at a time. */
ALWAYS_INLINE double margin_of_one(const struct forest *f, const uint16_t *ranks, int sets)
{
    double margin = 0.0;
    int64_t t = 0;
    for (; t + LANES <= f->trees; t += LANES) {
        uint32_t at[LANES] = {0};
        int64_t depth = 0;
        EACH_LANE
            depth = f->depths[t + lane] > depth ? f->depths[t + lane] : depth;
        for (int64_t k = 0; k < depth; k++)
            EACH_LANE
                at[lane] = step(f, f->nodes + f->roots[t + lane], at[lane], ranks, sets);
        EACH_LANE
            margin += f->values[f->roots[t + lane] + at[lane]];
    }
    for (; t < f->trees; t++) {
        uint32_t at = 0;
        for (int64_t k = 0; k < f->depths[t]; k++)
            at = step(f, f->nodes + f->roots[t], at, ranks, sets);
        margin += f->values[f->roots[t] + at];
    }
    return margin;
}

/* Walk a tree with LANES rows at a time. */
ALWAYS_INLINE void margins_of_lanes(
    const struct forest *f, uint16_t ranks[LANES][MOST_COLUMNS], double *margins, int sets)
{
    double sums[LANES] = {0.0};
    for (int64_t t = 0; t < f->trees; t++) {
        const struct node *tree = f->nodes + f->roots[t];
        uint32_t at[LANES] = {0};
        for (int64_t k = 0; k < f->depths[t]; k++)
            EACH_LANE
                at[lane] = step(f, tree, at[lane], ranks[lane], sets);
        EACH_LANE
            sums[lane] += f->values[f->roots[t] + at[lane]];
    }
    for (int lane = 0; lane < LANES; lane++)
        margins[lane] = sums[lane];
}

ALWAYS_INLINE void margins_of(const struct forest *f, const double *rows, int64_t n, double *margins, int sets)
{
    uint16_t ranks[LANES][MOST_COLUMNS];
    int64_t i = 0;
    for (int lane = 0; lane < LANES; lane++)
        ranks[lane][0] = 0; /* leaves look at it, and all splits may be by categories */
    for (; i + LANES <= n; i += LANES) {
        for (int lane = 0; lane < LANES; lane++)
            rank_row(f, rows + (i + lane) * f->width, ranks[lane]);
        margins_of_lanes(f, ranks, margins + i, sets);
    }
    for (; i < n; i++) {
        rank_row(f, rows + i * f->width, ranks[0]);
        margins[i] = margin_of_one(f, ranks[0], sets);
    }
}

/* rows: n rows of the forest's width. margins: n. */
void forest_margins(const struct forest *f, const double *rows, int64_t n, double *margins)
{
    if (f->category_count)
        margins_of(f, rows, n, margins, 1);
    else
        margins_of(f, rows, n, margins, 0);
}
