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

static int64_t twice_the_median(struct frame *f, const struct step *s)
{
    struct sums *sums = sums_of(f, s);
    if (sums->twice_the_median != UNREAD)
        return sums->twice_the_median;
    int64_t n = 0, least = INT64_MAX, most = INT64_MIN;
    for (int64_t i = 0; i < f->count - 1; i++)
        if (inside(f, i, s)) {
            int64_t one = f->amount[i];
            least = one < least ? one : least;
            most = one > most ? one : most;
            f->chosen[n++] = one;
        }
    if (!n)
        return sums->twice_the_median = -1;
    int64_t low = kth_smallest(f->chosen, n, (n - 1) / 2, least, most), upto = 0, high = INT64_MAX;
    for (int64_t i = 0; i < n; i++) {
        upto += f->chosen[i] <= low;
        high = f->chosen[i] > low && f->chosen[i] < high ? f->chosen[i] : high;
    }
    return sums->twice_the_median = low + (upto > n / 2 ? low : high);
}

/* What compares with the card's usual amount: that of the others, without the payment itself. */
static double of_usual(struct frame *f, const struct constants *c, const struct step *s)
{
    const int64_t last = f->count - 1, own = f->amount[last];
    if (s->operation == AMOUNT_TO_EARLIER_MEAN) {
        const struct sums *sums = sums_of(f, s);
        const int64_t is_in = inside(f, last, s), count = sums->count - is_in, total = sums->total - is_in * own;
        return quotient((double)((wide)own * count), (double)total, !count || !total);
    }
    if (s->operation == AMOUNT_TO_EARLIER_MEDIAN) {
        const int64_t twice = twice_the_median(f, s);
        return quotient((double)(2 * own), (double)twice, twice <= 0);
    }
    const int64_t twice = twice_the_median(f, &(struct step){0, c->usual_ms, s->delay_ms, 0});
    int64_t large = 0, largest = -1;
    for (int64_t i = 0; i < last; i++)
        if (inside(f, i, s)) {
            large += 2 * c->large_below * f->amount[i] > c->large_above * twice;
            largest = f->amount[i] > largest ? f->amount[i] : largest;
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
    int64_t keys[LATEST + 1], kept = 0, genuine_age = NEVER, count = 0, run = 0, first = -1;
    for (int64_t i = f->count - 2; i >= 0; i--) {
        if (!inside(f, i, s))
            continue;
        count += 1;
        if (f->fraud[i])
            first = f->age[i] > first ? f->age[i] : first;
        else
            genuine_age = f->age[i] < genuine_age ? f->age[i] : genuine_age;
        const int64_t key = 2 * f->age[i] + f->fraud[i];
        if (kept == LATEST && key >= keys[LATEST - 1])
            continue;
        int64_t at = kept < LATEST ? kept++ : LATEST - 1;
        for (; at > 0 && keys[at - 1] > key; at--)
            keys[at] = keys[at - 1];
        keys[at] = key;
    }
    for (int64_t i = 0; i < f->count - 1; i++)
        run += inside(f, i, s) && f->fraud[i] && f->age[i] < genuine_age;
    int64_t frauds = 0;
    for (int64_t k = 0; k < kept; k++)
        frauds += keys[k] & 1;
    *found = (struct sequence){s->length_ms, s->delay_ms, count, run, kept, frauds, first};
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
