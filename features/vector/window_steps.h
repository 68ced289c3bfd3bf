/* What is computed, in which window, and the sums of one window that several steps need. */

#ifndef WINDOW_STEPS_H
#define WINDOW_STEPS_H

#include <math.h>
#include <stdint.h>

#include "window_rows.h"

typedef __int128 wide;

enum operation {
    COUNT, AMOUNT_SUM, AMOUNT_MEAN, AMOUNT_MAX, AMOUNT_TO_MEAN, AMOUNT_DEVIATION, OTHERS, OTHER_FIRST, FRAUD_SHARE,
    AMOUNT_TO_SMALLEST, AMOUNT_REPEATED, COUNTRIES, COUNTRY_JUMP, DISTANCE_FROM_LAST, SPEED_FROM_LAST, DEVICES,
    DEVICE_FIRST, CATEGORY_SHARE, CHANNEL_SHARE, TIME_OF_DAY_SHARE, SECONDS_SINCE_LAST, FRAUD_RUN, FRAUD_LATEST,
    FRAUD_SHARE_OF_LAST_5, DAYS_SINCE_FIRST_FRAUD, AMOUNT_TO_EARLIER_MEAN, AMOUNT_TO_EARLIER_MEDIAN, LARGE_AMOUNTS,
    LARGEST_TO_MEDIAN
};

struct step {
    int64_t operation, length_ms, delay_ms, column;
};

/* The records that occurred in (upto - width, upto], of which none is before the row `first`; and what several steps
 * need of their amounts, UNREAD before it is needed. `has_own` tells whether the payment itself is among them. */
struct window {
    int64_t length_ms, delay_ms, first, upto_ms, width_ms, has_own;
    int64_t count, total, largest;
    int64_t twice_the_median;  /* of the others: -1 if there is none */
};

/* What several steps need of the others in one window, as a sequence of frauds and of what is none. */
struct sequence {
    int64_t length_ms, delay_ms, count, run, latest, frauds_of_latest, first_fraud_age;
};

static const int64_t NEVER = INT64_MAX;
static const int64_t UNREAD = INT64_MIN;
enum { LATEST = 5 };

static double quotient(double above, double below, int undefined) { return undefined ? NAN : above / below; }

/* Whether another record is in a window, in one comparison: what is later than `upto` has a huge age as well. */
static int inside(const struct frame *f, const struct window *w, int64_t i)
{
    return (uint64_t)(w->upto_ms - f->time[i]) < (uint64_t)w->width_ms;
}

/* The first of the others that may have occurred after a moment. */
static int64_t first_after(const struct frame *f, int64_t moment_ms)
{
    int64_t first = 0;
    for (int64_t left = f->last; left > 0;) {
        const int64_t half = (left + 1) / 2, is_before = f->peak[first + half - 1] <= moment_ms;
        first += is_before ? half : 0;
        left = is_before ? left - half : half - 1;
    }
    return first;
}

static struct window *window_of(struct frame *f, int64_t length_ms, int64_t delay_ms)
{
    for (int64_t k = 0; k < f->window_count; k++)
        if (f->windows[k].length_ms == length_ms && f->windows[k].delay_ms == delay_ms)
            return &f->windows[k];
    struct window *found = &f->windows[f->window_count++];
    const int64_t upto_ms = f->own_ms - delay_ms, after_ms = most_of(upto_ms - length_ms, f->after_ms);
    *found = (struct window){
        .length_ms = length_ms, .delay_ms = delay_ms, .first = first_after(f, after_ms), .upto_ms = upto_ms,
        .width_ms = most_of(upto_ms - after_ms, 0), .count = UNREAD, .twice_the_median = UNREAD,
    };
    found->has_own = (uint64_t)(upto_ms - f->time[f->last]) < (uint64_t)length_ms;
    return found;
}

/* A longer window has the records of a shorter one with the same end if that has all from its first row on. */
static int has_the_same(const struct frame *f, const struct window *longer, const struct window *shorter)
{
    return shorter->count != UNREAD && shorter->delay_ms == longer->delay_ms && shorter->first == longer->first &&
           shorter->width_ms <= longer->width_ms && shorter->count - shorter->has_own == f->last - shorter->first &&
           shorter->has_own == longer->has_own;
}

/* A window with its sums. */
static struct window *sums_of(struct frame *f, const struct step *s)
{
    struct window *w = window_of(f, s->length_ms, s->delay_ms);
    if (w->count != UNREAD)
        return w;
    for (int64_t k = 0; k < f->window_count; k++)
        if (has_the_same(f, w, &f->windows[k])) {
            w->total = f->windows[k].total;
            w->largest = f->windows[k].largest;
            w->count = f->windows[k].count;
            return w;
        }
    int64_t count = w->has_own, total = w->has_own ? f->amount[f->last] : 0, largest = total;
    for (int64_t i = w->first; i < f->last; i++) {
        const int64_t mask = -(int64_t)inside(f, w, i), amount = f->amount[i] & mask;
        count -= mask;
        total += amount;
        largest = most_of(largest, amount);
    }
    w->count = count;
    w->total = total;
    w->largest = largest;
    return w;
}

#endif
