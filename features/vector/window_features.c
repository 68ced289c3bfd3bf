/* The windowed features of a batch in one pass over its histories, equal to the bit to features/vector.
 *
 * A history is a contiguous matrix of int64, a row for each record, as features/history/records.py lays them out; the
 * last row is the payment itself. It is read where it lies, once for all payments that see it one after the other, and
 * what a payment may not see of it is passed over, see window_rows.h. What is computed of it is data: a list of
 * operations, each with its window and its column. Sums are exact integers of 128 bits until the one conversion,
 * division or square root that ends each answer.
 *
 * A history whose numbers could exceed that is left to the caller: `window_features` marks it, and its columns are
 * undefined. Compile with -ffp-contract=off: a fused multiplication has other bits.
 */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "window_keys.h"
#include "window_others.h"
#include "window_rows.h"
#include "window_steps.h"

/* --- distances, as features/vector/travel.py: each step one operation of IEEE doubles */

static double series(const double *terms, int count, double x)
{
    double square = x * x, total = terms[0] * square;
    for (int k = 1; k < count - 1; k++) {
        total += terms[k];
        total *= square;
    }
    total += terms[count - 1];
    return total * x;
}

static int64_t low_half(int64_t packed) { return (int32_t)(packed & 0xFFFFFFFF); }

static double distance_km(
    const struct constants *c, int64_t from_north, int64_t from_east, int64_t to_north, int64_t to_east)
{
    int64_t turned = llabs(to_east - from_east);
    int64_t angles[4] = {
        to_north - from_north,
        turned < c->full_turn - turned ? turned : c->full_turn - turned,
        2 * (c->quarter_turn - llabs(from_north)),
        2 * (c->quarter_turn - llabs(to_north)),
    };
    double sines[4];
    for (int k = 0; k < 4; k++)
        sines[k] = series(c->sine, 10, (double)angles[k] * c->radians);
    double square = sines[0] * sines[0] + sines[2] * sines[3] * (sines[1] * sines[1]);
    double sine = sqrt(square), cosine = sqrt(fabs(1.0 - square));
    for (int64_t k = 0; k < c->halvings; k++) {
        sine = sine / sqrt(2.0 + 2.0 * cosine);
        cosine = sqrt(0.5 + 0.5 * cosine);
    }
    return c->diameter_km * ((double)((int64_t)1 << c->halvings) * series(c->arc_sine, 7, sine));
}

static double distance_of_packed(const struct constants *c, int64_t from, int64_t to)
{
    return distance_km(c, from >> 32, low_half(from), to >> 32, low_half(to));
}

/* From latitude and longitude to latitude and longitude, in degrees; NaN where no such place exists. */
double distance_of_degrees(const struct constants *c, double north, double east, double to_north, double to_east)
{
    double ends[4] = {north, east, to_north, to_east};
    for (int k = 0; k < 4; k++) {
        ends[k] = rint(ends[k] * c->place_units);
        if (!(fabs(ends[k]) <= (double)(k % 2 ? 2 * c->quarter_turn : c->quarter_turn)))
            return NAN;
    }
    return distance_km(c, (int64_t)ends[0], (int64_t)ends[1], (int64_t)ends[2], (int64_t)ends[3]);
}

/* --- one step on one history */

static double spread(const struct frame *f, const struct window *w)
{
    wide squares = w->has_own ? (wide)f->amount[f->last] * f->amount[f->last] : 0;
    for (int64_t i = w->first; i < f->last; i++) {
        const int64_t amount = inside(f, w, i) ? f->amount[i] : 0;
        squares += (wide)amount * amount;
    }
    return (double)(w->count * squares - (wide)w->total * w->total);
}

static double of_amounts(struct frame *f, const struct constants *c, const struct step *s)
{
    const struct window *w = sums_of(f, s);
    const int64_t count = w->count, own = f->amount[f->last];
    switch (s->operation) {
    case COUNT:
        return (double)count;
    case AMOUNT_SUM:
        return (double)w->total / c->per_major;
    case AMOUNT_MEAN:
        return quotient((double)w->total, (double)count * c->per_major, !count);
    case AMOUNT_MAX:
        return count ? (double)w->largest / c->per_major : NAN;
    case AMOUNT_TO_MEAN:
        return quotient((double)((wide)own * count), (double)w->total, !count || !w->total);
    default: /* AMOUNT_DEVIATION */
        return quotient(sqrt(spread(f, w)), (double)count * c->per_major, !count);
    }
}

/* Whether none of the others has own value of a column; most often one of the last few has it. */
static int is_new(const struct frame *f, const struct window *w, const int64_t *column)
{
    for (int64_t i = f->last - 1; i >= w->first; i--)
        if (column[i] == column[f->last] && inside(f, w, i))
            return 0;
    return 1;
}

static double share_of_own(const struct frame *f, const struct window *w, int64_t trait)
{
    const int64_t own = f->own[TRAITS] & trait;
    int64_t same = 0, with_value = 0;
    for (int64_t i = w->first; i < f->last; i++) {
        const int64_t value = f->traits[i] & trait;
        const int is_in = inside(f, w, i);
        with_value += is_in & (value != 0);
        same += is_in & (value == own);
    }
    return quotient((double)same, (double)with_value, !with_value || !own);
}

static double time_of_day_share(const struct frame *f, const struct constants *c, const struct window *w)
{
    const int64_t own_clock = f->traits[f->last] >> c->clock_shift & c->clock_mask;
    const int64_t from_ms = f->own[TIME] + own_clock * c->minute_ms - c->near_ms;
    int64_t count = 0, near = 0;
    for (int64_t i = w->first; i < f->last; i++) {
        if (!inside(f, w, i))
            continue;
        const int64_t clock = f->traits[i] >> c->clock_shift & c->clock_mask;
        int64_t around = (f->time[i] + clock * c->minute_ms - from_ms) % c->day_ms;
        around += around < 0 ? c->day_ms : 0;
        count += 1;
        near += around <= 2 * c->near_ms;
    }
    return quotient((double)near, (double)count, !count);
}

static double amount_repeated(const struct frame *f, const struct constants *c, const struct window *w)
{
    int64_t found = 0;
    for (int64_t i = w->first; i < f->last; i++)
        found += field(f, i, AMOUNT) == f->own[AMOUNT] && !((f->traits[i] ^ f->own[TRAITS]) & c->currency_mask) &&
                 inside(f, w, i);
    return (double)found;
}

static double amount_to_smallest(const struct frame *f, const struct constants *c, const struct window *w)
{
    int64_t least = INT64_MAX;
    for (int64_t i = w->first; i < f->last; i++)
        least = least_of(least, inside(f, w, i) ? f->amount[i] : INT64_MAX);
    if (least == INT64_MAX)
        return NAN;
    return (double)f->amount[f->last] / (double)most_of(least, c->least_amount);
}

static double fraud_share(struct frame *f, const struct step *s)
{
    const struct window *w = sums_of(f, s);
    int64_t found = 0;
    for (int64_t i = w->first; f->fraud_count && i < f->last; i++)
        found += f->fraud[i] & inside(f, w, i);
    if (f->fraud_count && w->has_own)
        found += f->fraud[f->last];
    return (double)found / (double)(w->count ? w->count : 1);
}

/* The latest others that have a value which the payment has, too: several if they are of one millisecond. */
static double of_latest(struct frame *f, const struct constants *c, const struct step *s)
{
    const struct window *w = window_of(f, s->length_ms, s->delay_ms);
    const int64_t mask = s->operation == COUNTRY_JUMP ? c->country_mask : c->place_mask, own = f->own[TRAITS];
    int64_t latest_ms = NO_TIME_MS;
    int differs = 0;
    double km = -1.0;
    if (!(own & mask))
        return NAN;
    for (int64_t i = f->last - 1; i >= w->first && f->peak[i] >= latest_ms; i--) {
        if (!(f->traits[i] & mask) || f->time[i] < latest_ms || !inside(f, w, i))
            continue;
        if (f->time[i] > latest_ms) {
            latest_ms = f->time[i];
            differs = 0;
            km = -1.0;
        }
        if (s->operation == COUNTRY_JUMP) {
            differs |= ((f->traits[i] ^ own) & mask) != 0;
        } else {
            const double distance = distance_of_packed(c, field(f, i, PLACE), f->own[PLACE]);
            km = distance > km ? distance : km;
        }
    }
    if (latest_ms == NO_TIME_MS)
        return NAN;
    if (s->operation == COUNTRY_JUMP)
        return (double)differs;
    if (s->operation == DISTANCE_FROM_LAST)
        return km;
    return km * c->ms_per_hour / (double)most_of(f->own_ms - latest_ms, c->least_elapsed_ms);
}

static double seconds_since_last(const struct frame *f)
{
    int64_t latest_ms = most_of(f->after_ms, NO_TIME_MS);
    int is_known = 0;
    for (int64_t i = f->last - 1; i >= 0 && f->peak[i] > latest_ms; i--)
        if (f->time[i] > latest_ms && f->time[i] <= f->own_ms) {
            latest_ms = f->time[i];
            is_known = 1;
        }
    return is_known ? (double)(f->own_ms - latest_ms) / 1000.0 : NAN;
}

static double of_records(struct frame *f, const struct constants *c, const struct step *s, struct table *seen)
{
    const struct window *w = window_of(f, s->length_ms, s->delay_ms);
    int64_t found;
    switch (s->operation) {
    case OTHERS:
        return (double)distinct(f, w, f->other, -1, seen);
    case OTHER_FIRST:
        return (double)is_new(f, w, f->other);
    case AMOUNT_TO_SMALLEST:
        return amount_to_smallest(f, c, w);
    case AMOUNT_REPEATED:
        return amount_repeated(f, c, w);
    case COUNTRIES: /* none is 0 */
        found = distinct(f, w, f->traits, c->country_mask, seen);
        return (double)(found - holds(seen, 0));
    case DEVICES:
        found = distinct(f, w, f->device, -1, seen);
        return (double)(found - holds(seen, 0));
    case DEVICE_FIRST:
        return f->own[DEVICE] ? (double)is_new(f, w, f->device) : NAN;
    case CATEGORY_SHARE:
        return share_of_own(f, w, c->category_mask);
    case CHANNEL_SHARE:
        return share_of_own(f, w, c->channel_mask);
    default: /* TIME_OF_DAY_SHARE */
        return time_of_day_share(f, c, w);
    }
}

static double value(struct frame *f, const struct constants *c, const struct step *s, struct table *seen)
{
    switch (s->operation) {
    case COUNT:
    case AMOUNT_SUM:
    case AMOUNT_MEAN:
    case AMOUNT_MAX:
    case AMOUNT_TO_MEAN:
    case AMOUNT_DEVIATION:
        return of_amounts(f, c, s);
    case COUNTRY_JUMP:
    case DISTANCE_FROM_LAST:
    case SPEED_FROM_LAST:
        return of_latest(f, c, s);
    case SECONDS_SINCE_LAST:
        return seconds_since_last(f);
    case FRAUD_SHARE:
        return fraud_share(f, s);
    case FRAUD_RUN:
    case FRAUD_LATEST:
    case FRAUD_SHARE_OF_LAST_5:
    case DAYS_SINCE_FIRST_FRAUD:
        return of_sequence(f, c, s);
    case AMOUNT_TO_EARLIER_MEAN:
    case AMOUNT_TO_EARLIER_MEDIAN:
    case LARGE_AMOUNTS:
    case LARGEST_TO_MEDIAN:
        return of_usual(f, c, s);
    default:
        return of_records(f, c, s, seen);
    }
}

/* --- a batch */

static int reads_frauds(const struct step *steps, int64_t step_count)
{
    for (int64_t k = 0; k < step_count; k++)
        if (steps[k].operation == FRAUD_SHARE ||
            (steps[k].operation >= FRAUD_RUN && steps[k].operation <= DAYS_SINCE_FIRST_FRAUD))
            return 1;
    return 0;
}

/* Cuts a piece off the scratch memory, which is counted first and then cut in the same way: the address of what was
 * not there yet is NULL. */
struct scratch {
    char *memory;
    size_t used;
};

static void *cut(struct scratch *scratch, size_t bytes)
{
    void *piece = scratch->memory ? scratch->memory + scratch->used : NULL;
    scratch->used += (bytes + 7) / 8 * 8;
    return piece;
}

static void place(struct scratch *scratch, struct frame *f, struct table *seen, int64_t longest, int64_t step_count)
{
    const size_t column = (size_t)longest * sizeof(int64_t), shared_column = f->columns > TRAITS ? column : 0;
    seen->slots = cut(scratch, ((size_t)seen->mask + 1) * sizeof(struct slot));
    f->time = cut(scratch, column);
    f->peak = cut(scratch, column);
    f->amount = cut(scratch, column);
    f->other = cut(scratch, column);
    f->device = cut(scratch, shared_column);
    f->traits = cut(scratch, shared_column);
    f->chosen = cut(scratch, column);
    f->windows = cut(scratch, 2 * (size_t)step_count * sizeof(struct window));  /* a step may read a second window */
    f->label_at = cut(scratch, (size_t)longest * sizeof(uint32_t));
    f->fraud = cut(scratch, (size_t)longest);
}

/*
 * batch: see `struct batch`, n of each; the result is 1 for a history that is left to the caller, else 0.
 * steps: `step_count` of them. found: row-major, a row of n doubles at found + column * n.
 * Returns 0, or -1 without memory.
 */
int window_features(
    int64_t *batch, int64_t n, int64_t columns, int64_t horizon_ms, const struct step *steps, int64_t step_count,
    const struct constants *c, double *found)
{
    const struct batch b = batch_of(batch, n);
    const int marks_frauds = reads_frauds(steps, step_count);
    int64_t longest = 1;
    for (int64_t i = 0; i < n; i++)
        longest = most_of(longest, least_of(b.lengths[i], MOST_RECORDS));
    struct sequence sequence;
    struct frame f = {.columns = columns, .sequence = &sequence};
    struct table seen = {.mask = 15};
    while (seen.mask + 1 < 2 * longest)
        seen.mask = 2 * seen.mask + 1;
    struct scratch scratch = {0};
    place(&scratch, &f, &seen, longest, step_count);
    scratch = (struct scratch){.memory = malloc(scratch.used)};
    if (!scratch.memory)
        return -1;
    place(&scratch, &f, &seen, longest, step_count);
    memset(seen.slots, 0, ((size_t)seen.mask + 1) * sizeof(struct slot));
    for (int64_t i = 0; i < n; i++) {
        b.marks[i] = !open_history(&f, c, &b, i, horizon_ms);
        if (i + 1 < n && b.starts[i + 1] != b.starts[i])
            fetch_ahead(&b, i + 1, columns);
        if (b.marks[i])
            continue;
        sequence.delay_ms = NEVER;
        if (marks_frauds)
            mark_frauds(&f, c, &seen);
        for (int64_t k = 0; k < step_count; k++)
            found[steps[k].column * n + i] = value(&f, c, &steps[k], &seen);
    }
    free(scratch.memory);
    return 0;
}

/* The result is 1 for a history whose visible transactions came from more than one partition, else 0. */
void several_partitions(int64_t *batch, int64_t n, int64_t columns, int64_t horizon_ms, const struct constants *c)
{
    const struct batch b = batch_of(batch, n);
    for (int64_t i = 0; i < n; i++) {
        const int64_t *rows = rows_of(&b, i), *own = rows + (b.lengths[i] - 1) * columns, *row;
        int64_t newest_ms = NO_TIME_MS, latest_ms = NO_TIME_MS;
        int is_from_another = 0;
        for (row = rows; row <= own; row += columns) {
            if (row[FLAGS] & c->no_transaction)
                continue;
            newest_ms = most_of(newest_ms, row[TIME]);
            if ((row[FLAGS] ^ own[FLAGS]) >> c->partition_shift) {
                latest_ms = most_of(latest_ms, row[TIME]);
                is_from_another = 1;
            }
        }
        b.marks[i] = is_from_another && (horizon_ms < 0 || latest_ms > newest_ms - horizon_ms);
    }
}
