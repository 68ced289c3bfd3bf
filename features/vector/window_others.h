/* What the payment itself is left out of: a card's usual amount, and the known frauds of the others as a sequence. */

#include "window_steps.h"

/* The k-th smallest of n numbers, from 0, which it puts in another order. Their range is halved, not their number: a
 * chosen order costs at most a pass for each bit of the range, where pivots out of the numbers cost one for each number.
 */
static int64_t kth_smallest(int64_t *numbers, int64_t n, int64_t k, int64_t least, int64_t most)
{
    while (least < most && n > 1) {
        const int64_t middle = least + (most - least) / 2;
        int64_t below = 0;
        for (int64_t i = 0; i < n; i++) {
            const int64_t one = numbers[i];
            numbers[i] = numbers[below];
            numbers[below] = one;
            below += one <= middle;
        }
        if (below > k) {
            most = middle;
            n = below;
        } else {
            least = middle + 1;
            numbers += below;
            n -= below;
            k -= below;
        }
    }
    return n > 1 ? least : numbers[0];
}

static int64_t twice_the_median(struct frame *f, int64_t length_ms, int64_t delay_ms)
{
    struct window *w = window_of(f, length_ms, delay_ms);
    if (w->twice_the_median != UNREAD)
        return w->twice_the_median;
    int64_t n = 0, least = INT64_MAX, most = INT64_MIN;
    for (int64_t i = w->first; i < f->last; i++)
        if (inside(f, w, i)) {
            const int64_t amount = f->amount[i];
            least = least_of(least, amount);
            most = most_of(most, amount);
            f->chosen[n++] = amount;
        }
    if (!n)
        return w->twice_the_median = -1;
    int64_t low = kth_smallest(f->chosen, n, (n - 1) / 2, least, most), upto = 0, high = INT64_MAX;
    for (int64_t i = 0; i < n; i++) {
        upto += f->chosen[i] <= low;
        high = f->chosen[i] > low && f->chosen[i] < high ? f->chosen[i] : high;
    }
    return w->twice_the_median = low + (upto > n / 2 ? low : high);
}

/* What compares with the card's usual amount: that of the others, without the payment itself. */
static double of_usual(struct frame *f, const struct constants *c, const struct step *s)
{
    const int64_t own = f->amount[f->last];
    if (s->operation == AMOUNT_TO_EARLIER_MEAN) {
        const struct window *w = sums_of(f, s);
        const int64_t count = w->count - w->has_own, total = w->total - w->has_own * own;
        return quotient((double)((wide)own * count), (double)total, !count || !total);
    }
    if (s->operation == AMOUNT_TO_EARLIER_MEDIAN) {
        const int64_t twice = twice_the_median(f, s->length_ms, s->delay_ms);
        return quotient((double)(2 * own), (double)twice, twice <= 0);
    }
    const int64_t twice = twice_the_median(f, c->usual_ms, s->delay_ms);
    const struct window *w = window_of(f, s->length_ms, s->delay_ms);
    int64_t large = 0, largest = -1;
    for (int64_t i = w->first; i < f->last; i++) {
        const int is_in = inside(f, w, i);
        large += is_in & (2 * c->large_below * f->amount[i] > c->large_above * twice);
        largest = most_of(largest, is_in ? f->amount[i] : -1);
    }
    if (s->operation == LARGE_AMOUNTS)
        return (double)large;
    return quotient((double)(2 * largest), (double)twice, twice <= 0 || largest < 0);
}

/* The others from the youngest on; of one millisecond what is no fraud counts as younger. */
static const struct sequence *sequence_of(struct frame *f, const struct step *s)
{
    struct sequence *found = f->sequence;
    if (found->length_ms == s->length_ms && found->delay_ms == s->delay_ms)
        return found;
    const struct window *w = sums_of(f, s);
    const int64_t count = w->count - w->has_own;
    *found = (struct sequence){s->length_ms, s->delay_ms, count, 0, least_of(count, LATEST), 0, -1};
    if (!f->fraud_count)
        return found;
    int64_t keys[LATEST + 1], kept = 0, genuine_age = NEVER;
    for (int64_t i = f->last - 1; i >= w->first; i--) {
        if (!inside(f, w, i))
            continue;
        const int64_t age = f->own_ms - f->time[i], key = 2 * age + f->fraud[i];
        if (f->fraud[i])
            found->first_fraud_age = most_of(found->first_fraud_age, age);
        else
            genuine_age = least_of(genuine_age, age);
        if (kept == LATEST && key >= keys[LATEST - 1])
            continue;
        int64_t at = kept < LATEST ? kept++ : LATEST - 1;
        for (; at > 0 && keys[at - 1] > key; at--)
            keys[at] = keys[at - 1];
        keys[at] = key;
    }
    for (int64_t i = w->first; i < f->last; i++)
        found->run += f->fraud[i] && inside(f, w, i) && f->own_ms - f->time[i] < genuine_age;
    for (int64_t k = 0; k < kept; k++)
        found->frauds_of_latest += keys[k] & 1;
    return found;
}

static double of_sequence(struct frame *f, const struct constants *c, const struct step *s)
{
    const struct sequence *found = sequence_of(f, s);
    switch (s->operation) {
    case FRAUD_RUN:
        return (double)found->run;
    case FRAUD_LATEST:
        return found->count ? (double)(found->run > 0) : NAN;
    case FRAUD_SHARE_OF_LAST_5:
        return quotient((double)found->frauds_of_latest, (double)found->latest, !found->count);
    default: /* DAYS_SINCE_FIRST_FRAUD */
        return quotient((double)found->first_fraud_age, (double)c->day_ms, found->first_fraud_age < 0);
    }
}
