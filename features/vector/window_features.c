/* The windowed features of a batch in one pass over its histories, equal to the bit to features/vector.
 *
 * A history is a contiguous matrix of int64, a row for each record, as features/history/records.py lays them out; the
 * last row is the payment itself. It is read where it lies, and what the payment may not see of it is passed over, see
 * window_rows.h. What is computed of it is data: a list of operations, each with its window and its column. Sums are
 * exact integers of 128 bits until the one conversion, division or square root that ends each answer.
 *
 * A history whose numbers could exceed that is left to the caller: `window_features` marks it, and its columns are
 * undefined. Compile with -ffp-contract=off: a fused multiplication has other bits.
 */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "window_others.h"
#include "window_rows.h"
#include "window_steps.h"

/* --- a table of distinct keys: as many slots as fit twice the records, emptied by a round number */

struct table {
    int64_t *keys, *values;
    uint32_t *rounds, round, mask;
};

static void empty(struct table *t)
{
    if (++t->round == 0) {
        memset(t->rounds, 0, sizeof(*t->rounds) * ((size_t)t->mask + 1));
        t->round = 1;
    }
}

/* Where a key is, or would be. */
static uint32_t slot_of(const struct table *t, int64_t key)
{
    uint32_t slot = (uint32_t)((uint64_t)key * UINT64_C(0x9E3779B97F4A7C15) >> 32) & t->mask;
    while (t->rounds[slot] == t->round && t->keys[slot] != key)
        slot = (slot + 1) & t->mask;
    return slot;
}

static int first_time(struct table *t, int64_t key)
{
    uint32_t slot = slot_of(t, key);
    if (t->rounds[slot] == t->round)
        return 0;
    t->rounds[slot] = t->round;
    t->keys[slot] = key;
    return 1;
}

/* --- frauds: the latest label of each transaction that is known at the own time */

static int later_label(const struct frame *f, const struct constants *c, int64_t a, int64_t b)
{
    if (field(f, a, TIME) != field(f, b, TIME))
        return field(f, a, TIME) > field(f, b, TIME);
    if (field(f, a, OFFSET) != field(f, b, OFFSET))
        return field(f, a, OFFSET) > field(f, b, OFFSET);
    return field(f, a, FLAGS) >> c->partition_shift > field(f, b, FLAGS) >> c->partition_shift;
}

static void mark_frauds(const struct frame *f, const struct constants *c, struct table *latest)
{
    empty(latest);
    for (int64_t i = 0; f->has_labels && i < f->count; i++) {
        if (!(field(f, i, FLAGS) & c->label_bit) || field(f, i, TIME) > f->own_ms || is_hidden(f, i))
            continue;
        uint32_t slot = slot_of(latest, field(f, i, OTHER));
        if (first_time(latest, field(f, i, OTHER)) || !later_label(f, c, latest->values[slot], i))
            latest->values[slot] = i;
    }
    for (int64_t i = 0; i < f->count; i++) {
        uint32_t slot = slot_of(latest, field(f, i, ID));
        f->fraud[i] = f->age[i] != NEVER && latest->rounds[slot] == latest->round &&
                      (field(f, latest->values[slot], FLAGS) & c->fraud_bit) != 0;
    }
}

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

static double distance_km(const struct constants *c, int64_t from, int64_t to)
{
    int64_t from_north = from >> 32, from_east = low_half(from), to_north = to >> 32, to_east = low_half(to);
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

/* --- one step on one history */

static double spread(const struct frame *f, const struct step *s, const struct sums *sums)
{
    wide squares = 0;
    for (int64_t i = 0; i < f->count; i++)
        if (inside(f, i, s))
            squares += (wide)f->amount[i] * f->amount[i];
    return (double)(sums->count * squares - (wide)sums->total * sums->total);
}

static double of_amounts(struct frame *f, const struct constants *c, const struct step *s)
{
    const struct sums *sums = sums_of(f, s);
    const int64_t count = sums->count, own = f->amount[f->count - 1];
    switch (s->operation) {
    case COUNT:
        return (double)count;
    case AMOUNT_SUM:
        return (double)sums->total / c->per_major;
    case AMOUNT_MEAN:
        return quotient((double)sums->total, (double)count * c->per_major, !count);
    case AMOUNT_MAX:
        return count ? (double)sums->largest / c->per_major : NAN;
    case AMOUNT_TO_MEAN:
        return quotient((double)((wide)own * count), (double)sums->total, !count || !sums->total);
    default: /* AMOUNT_DEVIATION */
        return quotient(sqrt(spread(f, s, sums)), (double)count * c->per_major, !count);
    }
}

static double of_counts(const struct frame *f, const struct constants *c, const struct step *s, struct table *seen)
{
    const int64_t last = f->count - 1, *own = f->own;
    int64_t count = 0, found = 0, with_value = 0, least = INT64_MAX;
    const int64_t trait = s->operation == CATEGORY_SHARE ? c->category_mask : c->channel_mask;
    const int64_t own_wall = own[TIME] + ((f->columns > TRAITS ? own[TRAITS] : 0) >> c->clock_shift & c->clock_mask) * c->minute_ms;
    empty(seen);
    for (int64_t i = 0; i < f->count; i++) {
        if (!inside(f, i, s))
            continue;
        const int64_t *row = f->rows + i * f->columns;
        const int is_other = i != last;
        count += 1;
        switch (s->operation) {
        case OTHERS:
            found += first_time(seen, row[OTHER]);
            break;
        case OTHER_FIRST:
            found += is_other && row[OTHER] == own[OTHER];
            break;
        case FRAUD_SHARE:
            found += f->fraud[i];
            break;
        case AMOUNT_TO_SMALLEST:
            if (is_other && f->amount[i] < least)
                least = f->amount[i];
            break;
        case AMOUNT_REPEATED:
            found += is_other && row[AMOUNT] == own[AMOUNT] && !((row[TRAITS] ^ own[TRAITS]) & c->currency_mask);
            break;
        case COUNTRIES:
            found += row[TRAITS] & c->country_mask && first_time(seen, row[TRAITS] & c->country_mask);
            break;
        case DEVICES:
            found += row[DEVICE] && first_time(seen, row[DEVICE]);
            break;
        case DEVICE_FIRST:
            found += is_other && row[DEVICE] == own[DEVICE];
            break;
        case CATEGORY_SHARE:
        case CHANNEL_SHARE:
            if (is_other && row[TRAITS] & trait) {
                with_value += 1;
                found += !((row[TRAITS] ^ own[TRAITS]) & trait);
            }
            break;
        default: /* TIME_OF_DAY_SHARE */
            if (is_other) {
                int64_t wall = row[TIME] + (row[TRAITS] >> c->clock_shift & c->clock_mask) * c->minute_ms;
                int64_t around = (wall - own_wall + c->near_ms) % c->day_ms;
                around += around < 0 ? c->day_ms : 0;
                with_value += 1;
                found += around <= 2 * c->near_ms;
            }
        }
    }
    switch (s->operation) {
    case OTHERS:
    case AMOUNT_REPEATED:
    case COUNTRIES:
    case DEVICES:
        return (double)found;
    case OTHER_FIRST:
        return (double)!found;
    case FRAUD_SHARE:
        return (double)found / (double)(count ? count : 1);
    case AMOUNT_TO_SMALLEST:
        if (least == INT64_MAX)
            return NAN;
        return (double)f->amount[last] / (double)(least > c->least_amount ? least : c->least_amount);
    case DEVICE_FIRST:
        return own[DEVICE] ? (double)!found : NAN;
    case CATEGORY_SHARE:
    case CHANNEL_SHARE:
        return quotient((double)found, (double)with_value, !with_value || !(own[TRAITS] & trait));
    default: /* TIME_OF_DAY_SHARE */
        return quotient((double)found, (double)with_value, !with_value);
    }
}

/* The latest others that have a value which the payment has, too: several if they are of one millisecond. */
static double of_latest(const struct frame *f, const struct constants *c, const struct step *s)
{
    const int64_t mask = s->operation == COUNTRY_JUMP ? c->country_mask : c->place_mask, last = f->count - 1;
    int64_t youngest = INT64_MAX;
    if (!(f->own[TRAITS] & mask))
        return NAN;
    for (int64_t i = 0; i < last; i++)
        if (field(f, i, TRAITS) & mask && inside(f, i, s) && f->age[i] < youngest)
            youngest = f->age[i];
    if (youngest == INT64_MAX)
        return NAN;
    int differs = 0;
    double km = -1.0;
    for (int64_t i = 0; i < last; i++) {
        if (f->age[i] != youngest || !(field(f, i, TRAITS) & mask) || !inside(f, i, s))
            continue;
        if (s->operation == COUNTRY_JUMP) {
            differs |= ((field(f, i, TRAITS) ^ f->own[TRAITS]) & mask) != 0;
        } else {
            double one = distance_km(c, field(f, i, PLACE), f->own[PLACE]);
            km = one > km ? one : km;
        }
    }
    if (s->operation == COUNTRY_JUMP)
        return (double)differs;
    if (s->operation == DISTANCE_FROM_LAST)
        return km;
    return km * c->ms_per_hour / (double)(youngest > c->least_elapsed_ms ? youngest : c->least_elapsed_ms);
}

static double seconds_since_last(const struct frame *f)
{
    int64_t least = NEVER;
    for (int64_t i = 0; i < f->count - 1; i++)
        least = f->age[i] < least ? f->age[i] : least;
    return least == NEVER ? NAN : (double)least / 1000.0;
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
        return of_counts(f, c, s, seen);
    }
}

/* --- a batch */

static int is_exact(struct frame *f, const struct constants *c)
{
    if (f->count > MOST_RECORDS)
        return 0;
    for (int64_t i = 0; i < f->count; i++) {
        if (is_hidden(f, i)) {
            f->age[i] = NEVER;
            f->amount[i] = 0;
            continue;
        }
        int64_t flags = field(f, i, FLAGS), minor = field(f, i, AMOUNT);
        int64_t exponent = flags >> c->exponent_shift & c->exponent_mask;
        int is_label = (flags & c->label_bit) != 0;
        int64_t age = f->own_ms - field(f, i, TIME);
        f->age[i] = is_label || age < 0 ? NEVER : age;
        f->has_labels |= is_label;
        if (is_label) {
            f->amount[i] = 0;
            continue;
        }
        if (exponent > FINEST)
            return 0;
        int64_t scale = POWERS[FINEST - exponent];
        if (minor > LARGEST_AMOUNT / scale || minor < -LARGEST_AMOUNT / scale)
            return 0;
        f->amount[i] = minor * scale;
    }
    return 1;
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
    int64_t longest = 1, slots = 16;
    int reads_frauds = 0;
    for (int64_t i = 0; i < n; i++)
        longest = b.lengths[i] > longest ? b.lengths[i] : longest;
    longest = longest > MOST_RECORDS ? MOST_RECORDS : longest;
    while (slots < 2 * longest)
        slots *= 2;
    for (int64_t k = 0; k < step_count; k++)
        reads_frauds |= steps[k].operation == FRAUD_SHARE ||
                        (steps[k].operation >= FRAUD_RUN && steps[k].operation <= DAYS_SINCE_FIRST_FRAUD);
    size_t size = (size_t)longest * (3 * sizeof(int64_t) + 1) + (size_t)slots * (2 * sizeof(int64_t) + sizeof(uint32_t)) +
                  2 * (size_t)step_count * sizeof(struct sums);  /* a step may read a second window */
    int64_t *memory = malloc(size);
    if (!memory)
        return -1;
    struct sequence sequence;
    struct frame f = {.columns = columns, .sequence = &sequence};
    struct table seen = {.keys = memory, .mask = (uint32_t)slots - 1};
    seen.values = seen.keys + slots;
    f.age = seen.values + slots;
    f.amount = f.age + longest;
    f.chosen = f.amount + longest;
    f.sums = (struct sums *)(f.chosen + longest);
    seen.rounds = (uint32_t *)(f.sums + 2 * step_count);
    f.fraud = (uint8_t *)(seen.rounds + slots);
    memset(seen.rounds, 0, (size_t)slots * sizeof(uint32_t));
    for (int64_t i = 0; i < n; i++) {
        open_history(&f, c, &b, i, horizon_ms);
        if (i + 1 < n)
            fetch_ahead(&b, i + 1, columns);
        f.own_ms = b.own_ms[i];
        f.has_labels = f.sum_count = 0;
        sequence.delay_ms = NEVER;
        b.marks[i] = !is_exact(&f, c);
        if (b.marks[i])
            continue;
        if (reads_frauds)
            mark_frauds(&f, c, &seen);
        for (int64_t k = 0; k < step_count; k++)
            found[steps[k].column * n + i] = value(&f, c, &steps[k], &seen);
    }
    free(memory);
    return 0;
}

/* The result is 1 for a history whose visible transactions came from more than one partition, else 0. */
void several_partitions(int64_t *batch, int64_t n, int64_t columns, int64_t horizon_ms, const struct constants *c)
{
    const struct batch b = batch_of(batch, n);
    struct frame f = {.columns = columns};
    for (int64_t i = 0; i < n; i++) {
        open_history(&f, c, &b, i, horizon_ms);
        b.marks[i] = 0;
        for (int64_t k = 0; k < f.count && !b.marks[i]; k++) {
            const int64_t flags = field(&f, k, FLAGS);
            b.marks[i] = !(flags & c->no_transaction) && (flags ^ f.own[FLAGS]) >> c->partition_shift && !is_hidden(&f, k);
        }
    }
}
