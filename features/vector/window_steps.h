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

/* What several steps need of the amounts in one window. */
struct sums {
    int64_t length_ms, delay_ms, count, total, largest;
    int64_t twice_the_median;  /* of the others: -1 if there is none, UNREAD before it is needed */
};

/* What several steps need of the others in one window, as a sequence of frauds and of what is none. */
struct sequence {
    int64_t length_ms, delay_ms, count, run, latest, frauds_of_latest, first_fraud_age;
};

static const int64_t POWERS[] = {1, 10, 100, 1000, 10000};
static const int64_t FINEST = 4;
static const int64_t NEVER = INT64_MAX;
static const int64_t UNREAD = INT64_MIN;
enum { LATEST = 5 };
static const int64_t LARGEST_AMOUNT = (int64_t)1 << 49;  /* with MOST_RECORDS no sum exceeds 62 bits, of squares 124 */
static const int64_t MOST_RECORDS = (int64_t)1 << 13;

static double quotient(double above, double below, int undefined) { return undefined ? NAN : above / below; }

static int inside(const struct frame *f, int64_t i, const struct step *s)
{
    return f->age[i] >= s->delay_ms && f->age[i] < s->delay_ms + s->length_ms;
}

static struct sums *sums_of(struct frame *f, const struct step *s)
{
    for (int k = 0; k < f->sum_count; k++)
        if (f->sums[k].length_ms == s->length_ms && f->sums[k].delay_ms == s->delay_ms)
            return &f->sums[k];
    const int64_t *age = f->age, *amount = f->amount, from = s->delay_ms, to = s->delay_ms + s->length_ms;
    int64_t count = 0, total = 0, largest = INT64_MIN;
    for (int64_t i = 0; i < f->count; i++) {
        int64_t mask = -(int64_t)((age[i] >= from) & (age[i] < to)), one = amount[i] & mask;
        count -= mask;
        total += one;
        largest = one > largest ? one : largest;
    }
    struct sums *found = &f->sums[f->sum_count++];
    *found = (struct sums){s->length_ms, s->delay_ms, count, total, largest, UNREAD};
    return found;
}

#endif
