/* Where the histories of a batch lie, and the columns of one of them; see features/history/records.py. */

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
    double per_major, ms_per_hour, radians, diameter_km, place_units;
    double sine[10], arc_sine[7];
    int64_t halvings;
};

struct window;
struct sequence;

/* One history as a payment sees it: `count` rows, of which the last is the payment itself.
 *
 * The columns are made once for all payments that see the same history one after the other: the rows of a payment are
 * the first ones of those that came later. */
struct frame {
    const int64_t *rows;
    int64_t columns, read;  /* so many rows are in the columns below; scratch for the longest history */
    int64_t *time;  /* NO_TIME_MS for a label */
    int64_t *peak;  /* the newest time up to this row: all before the first one above a moment are not after it */
    int64_t *amount, *other, *device, *traits;  /* amounts in units of 10^-4; the last two of cards alone */
    int64_t *chosen;  /* scratch, for one step */
    uint32_t *label_at;  /* the rows of labels */
    uint8_t *fraud;
    int64_t label_count, largest, exact_count;  /* the row at `exact_count` is not computed here */
    int64_t count, last, own_ms, after_ms;  /* a record is visible after `after_ms`, the last one always */
    const int64_t *own;
    int64_t window_count, fraud_count;
    struct window *windows;  /* scratch: those seen so far */
    struct sequence *sequence;  /* the last one that was read; none if its delay is NEVER */
};

static const int64_t NO_TIME_MS = -((int64_t)1 << 62);
static const int64_t POWERS[] = {1, 10, 100, 1000, 10000};
static const int64_t FINEST = 4;
static const int64_t LARGEST_AMOUNT = (int64_t)1 << 49;
static const int64_t LARGEST_SUM = (int64_t)1 << 62;
/* Of so many records the columns take 61 MiB and the table of distinct keys 32, a card's rows themselves 72. */
static const int64_t MOST_RECORDS = (int64_t)1 << 20;

static int64_t field(const struct frame *f, int64_t i, int64_t column) { return f->rows[i * f->columns + column]; }

static int64_t least_of(int64_t a, int64_t b) { return a < b ? a : b; }

static int64_t most_of(int64_t a, int64_t b) { return a > b ? a : b; }

/* The histories of a batch, in arrays of n: their addresses, their lengths, the payments' times, and the result. */
struct batch {
    const int64_t *starts, *lengths, *own_ms;
    int64_t *marks;
};

static struct batch batch_of(int64_t *memory, int64_t n)
{
    return (struct batch){memory, memory + n, memory + 2 * n, memory + 3 * n};
}

static const int64_t *rows_of(const struct batch *b, int64_t i) { return (const int64_t *)(intptr_t)b->starts[i]; }

/* Asks for a history's memory before it is needed: the histories of a batch lie anywhere. A long one would displace
 * what is needed now, and its rows are read in their order, which processors notice. */
static void fetch_ahead(const struct batch *b, int64_t i, int64_t columns)
{
    enum { SHORT = 1 << 13 };
    const int64_t *row = rows_of(b, i), *end = row + b->lengths[i] * columns;
    for (; b->lengths[i] < SHORT && row < end; row += 8)
        __builtin_prefetch(row);
}

/* Reads the rows up to `count` into the columns, those that are not there yet. */
static void read_columns(struct frame *f, const struct constants *c, int64_t count)
{
    const int64_t not_exact = c->no_transaction & ~c->label_bit;
    int64_t peak = f->read ? f->peak[f->read - 1] : NO_TIME_MS, largest = f->largest;
    for (int64_t i = f->read; i < count; i++) {
        const int64_t *row = f->rows + i * f->columns, flags = row[FLAGS], minor = row[AMOUNT];
        const int64_t exponent = flags >> c->exponent_shift & c->exponent_mask;
        f->other[i] = row[OTHER];
        if (f->columns > TRAITS) {
            f->device[i] = row[DEVICE];
            f->traits[i] = row[TRAITS];
        }
        if (flags & c->label_bit) {
            f->time[i] = NO_TIME_MS;
            f->amount[i] = 0;
            f->label_at[f->label_count++] = (uint32_t)i;
        } else {
            const int64_t scale = POWERS[FINEST - (exponent > FINEST ? FINEST : exponent)];
            const int is_exact = exponent <= FINEST && !(flags & not_exact) &&
                                 minor <= LARGEST_AMOUNT / scale && minor >= -LARGEST_AMOUNT / scale;
            if (!is_exact)
                f->exact_count = least_of(f->exact_count, i);
            f->time[i] = row[TIME];
            f->amount[i] = is_exact ? minor * scale : 0;
            largest = most_of(largest, f->amount[i] < 0 ? -f->amount[i] : f->amount[i]);
            peak = most_of(peak, row[TIME]);
        }
        f->peak[i] = peak;
    }
    f->largest = largest;
    f->read = most_of(f->read, count);
}

/* Opens a payment's history; what is older than the horizon, counted from its newest transaction, is hidden (< 0:
 * nothing is). Returns whether its sums are exact here: none exceeds 62 bits, and none of squares, times their number,
 * 124. */
static int open_history(
    struct frame *f, const struct constants *c, const struct batch *b, int64_t i, int64_t horizon_ms)
{
    const int64_t *rows = rows_of(b, i), count = b->lengths[i];
    if (count > MOST_RECORDS)
        return 0;
    if (rows != f->rows) {
        f->rows = rows;
        f->read = f->label_count = f->largest = 0;
        f->exact_count = MOST_RECORDS;
    }
    read_columns(f, c, count);
    f->count = count;
    f->last = count - 1;
    f->own = rows + f->last * f->columns;
    f->own_ms = b->own_ms[i];
    f->after_ms = horizon_ms < 0 ? NO_TIME_MS : most_of(NO_TIME_MS, f->peak[f->last] - horizon_ms);
    f->window_count = 0;
    return count <= f->exact_count && f->largest <= LARGEST_SUM / count;
}

#endif
