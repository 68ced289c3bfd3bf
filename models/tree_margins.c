/* Raw margins of rows by a forest of numeric splits, equal to the bit to LightGBM's.
 *
 * A split asks whether a value is at most its threshold. All that matters of a value is its rank, the number of its
 * feature's thresholds that are below it, so a row is ranked once and trees compare 16-bit integers. A node has 4 bytes;
 * a leaf is a node that leads to itself, so a walk of the tree's depth ends in a leaf without a branch. A single row
 * walks several trees at a time, several rows walk one tree at a time: the processor overlaps their loads.
 *
 * A feature has a column of ranks for each way in which its splits treat missing values and zeros. The caller lays the
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

/* `rank`: of the threshold; 65535 in a leaf, which no rank exceeds. `left`: of the tree's nodes; right is the next. */
struct node {
    uint16_t rank;
    uint8_t column, left;
};

struct feature {
    int64_t place;                  /* in the row */
    int64_t first, count;           /* of its thresholds, which rise strictly */
    int64_t column, column_count;   /* of its ranks */
};

struct forest {
    int64_t trees, width, feature_count;
    const struct feature *features; /* those that have splits */
    const double *thresholds;
    const uint16_t *zero_ranks, *nan_ranks; /* what zero and NaN become in each column */
    const struct node *nodes;
    const int64_t *roots, *depths;  /* of each tree */
    const double *values;           /* of each node that is a leaf */
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
}

static inline uint32_t step(const struct node *tree, uint32_t at, const uint16_t *ranks)
{
    struct node node = tree[at];
    return node.left + (ranks[node.column] > node.rank);
}

/* Walk LANES trees at a time. */
static double margin_of_one(const struct forest *f, const uint16_t *ranks)
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
                at[lane] = step(f->nodes + f->roots[t + lane], at[lane], ranks);
        EACH_LANE
            margin += f->values[f->roots[t + lane] + at[lane]];
    }
    for (; t < f->trees; t++) {
        uint32_t at = 0;
        for (int64_t k = 0; k < f->depths[t]; k++)
            at = step(f->nodes + f->roots[t], at, ranks);
        margin += f->values[f->roots[t] + at];
    }
    return margin;
}

/* Walk a tree with LANES rows at a time. */
static void margins_of_lanes(const struct forest *f, uint16_t ranks[LANES][MOST_COLUMNS], double *margins)
{
    double sums[LANES] = {0.0};
    for (int64_t t = 0; t < f->trees; t++) {
        const struct node *tree = f->nodes + f->roots[t];
        uint32_t at[LANES] = {0};
        for (int64_t k = 0; k < f->depths[t]; k++)
            EACH_LANE
                at[lane] = step(tree, at[lane], ranks[lane]);
        EACH_LANE
            sums[lane] += f->values[f->roots[t] + at[lane]];
    }
    for (int lane = 0; lane < LANES; lane++)
        margins[lane] = sums[lane];
}

/* rows: n rows of the forest's width. margins: n. */
void tree_margins(const struct forest *f, const double *rows, int64_t n, double *margins)
{
    uint16_t ranks[LANES][MOST_COLUMNS];
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int lane = 0; lane < LANES; lane++)
            rank_row(f, rows + (i + lane) * f->width, ranks[lane]);
        margins_of_lanes(f, ranks, margins + i);
    }
    for (; i < n; i++) {
        rank_row(f, rows + i * f->width, ranks[0]);
        margins[i] = margin_of_one(f, ranks[0]);
    }
}
