/* Where the histories of a batch lie, and which of their rows a payment sees; see features/history/records.py. */

#ifndef WINDOW_ROWS_H
#define WINDOW_ROWS_H

#include <stdint.h>

enum { TIME, AMOUNT, ID, OTHER, OFFSET, FLAGS, DEVICE, PLACE, TRAITS };

/* What features/history/records.py and features/vector say, so that it is said once: the caller fills it in. */
struct constants {
    int64_t label_bit, fraud_bit, no_transaction, exponent_shift, exponent_mask, partition_shift;
    int64_t category_mask, country_mask, channel_mask, currency_mask, place_mask, clock_shift, clock_mask;
    int64_t minute_ms, day_ms, near_ms, least_elapsed_ms, quarter_turn, full_turn, least_amount;
    int64_t usual_ms, large_above, large_below;
    double per_major, ms_per_hour, radians, diameter_km;
    double sine[10], arc_sine[7];
    int64_t halvings;
};

struct sums;
struct sequence;

/* One history: its rows, and the columns that more than one step needs. */
struct frame {
    const int64_t *rows;
    int64_t count, columns, own_ms, after_ms;  /* a record is visible after `after_ms`, the last one always */
    const int64_t *own;
    int64_t *age, *amount;  /* scratch, count each: NEVER for what is not earlier; units of 10^-4 */
    uint8_t *fraud;
    int has_labels, sum_count;
    struct sums *sums;  /* scratch: of the windows seen so far */
    struct sequence *sequence;  /* the last one that was read; none if its delay is NEVER */
    int64_t *chosen;  /* scratch, count */
};

static const int64_t NO_TIME_MS = -((int64_t)1 << 62);

static int64_t field(const struct frame *f, int64_t i, int64_t column) { return f->rows[i * f->columns + column]; }

static int is_hidden(const struct frame *f, int64_t i)
{
    return field(f, i, TIME) <= f->after_ms && i != f->count - 1;
}

/* The histories of a batch, in arrays of n: their addresses, their lengths, the payments' times, and the result. */
struct batch {
    const int64_t *starts, *lengths, *own_ms;
    int64_t *marks;
};

static struct batch batch_of(int64_t *memory, int64_t n)
{
    return (struct batch){memory, memory + n, memory + 2 * n, memory + 3 * n};
}

/* Asks for a history's memory before it is needed: the histories of a batch lie anywhere. */
static void fetch_ahead(const struct batch *b, int64_t i, int64_t columns)
{
    const int64_t *row = (const int64_t *)(intptr_t)b->starts[i], *end = row + b->lengths[i] * columns;
    for (; row < end; row += 8)
        __builtin_prefetch(row);
}

/* Opens a history; what is older than the horizon, counted from its newest transaction, is hidden (< 0: nothing is). */
static void open_history(
    struct frame *f, const struct constants *c, const struct batch *b, int64_t i, int64_t horizon_ms)
{
    f->rows = (const int64_t *)(intptr_t)b->starts[i];
    f->count = b->lengths[i];
    f->own = f->rows + (f->count - 1) * f->columns;
    f->after_ms = INT64_MIN;
    if (horizon_ms < 0)
        return;
    int64_t newest_ms = NO_TIME_MS;
    for (int64_t k = 0; k < f->count; k++)
        if (!(field(f, k, FLAGS) & c->no_transaction) && field(f, k, TIME) > newest_ms)
            newest_ms = field(f, k, TIME);
    f->after_ms = newest_ms - horizon_ms;
    while (is_hidden(f, 0)) {
        f->rows += f->columns;
        f->count -= 1;
    }
}

#endif
