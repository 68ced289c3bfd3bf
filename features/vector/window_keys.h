/* A table of distinct keys, and what is found with it: numbers of distinct values, and known frauds. */

#ifndef WINDOW_KEYS_H
#define WINDOW_KEYS_H

#include <stdint.h>
#include <string.h>

#include "window_rows.h"
#include "window_steps.h"

/* As many slots as fit twice the records, emptied by a round number. */
struct slot {
    int64_t key;
    uint32_t round, value;
};

struct table {
    struct slot *slots;
    uint32_t round, mask;
};

static void empty(struct table *t)
{
    if (++t->round == 0) {
        memset(t->slots, 0, sizeof(*t->slots) * ((size_t)t->mask + 1));
        t->round = 1;
    }
}

/* Where a key is, or would be. */
static struct slot *slot_of(const struct table *t, int64_t key)
{
    uint32_t at = (uint32_t)((uint64_t)key * UINT64_C(0x9E3779B97F4A7C15) >> 32) & t->mask;
    while (t->slots[at].round == t->round && t->slots[at].key != key)
        at = (at + 1) & t->mask;
    return &t->slots[at];
}

static int holds(const struct table *t, int64_t key) { return slot_of(t, key)->round == t->round; }

static int first_time(struct table *t, int64_t key)
{
    struct slot *slot = slot_of(t, key);
    if (slot->round == t->round)
        return 0;
    slot->round = t->round;
    slot->key = key;
    return 1;
}

/* The number of distinct values of a column under a mask, own one included. */
static int64_t distinct(
    const struct frame *f, const struct window *w, const int64_t *column, int64_t mask, struct table *seen)
{
    int64_t found = 0;
    empty(seen);
    for (int64_t i = w->first; i < f->last; i++)
        if (inside(f, w, i))
            found += first_time(seen, column[i] & mask);
    if (w->has_own)
        found += first_time(seen, column[f->last] & mask);
    return found;
}

static int later_label(const struct frame *f, const struct constants *c, int64_t a, int64_t b)
{
    if (field(f, a, TIME) != field(f, b, TIME))
        return field(f, a, TIME) > field(f, b, TIME);
    if (field(f, a, OFFSET) != field(f, b, OFFSET))
        return field(f, a, OFFSET) > field(f, b, OFFSET);
    return field(f, a, FLAGS) >> c->partition_shift > field(f, b, FLAGS) >> c->partition_shift;
}

/* Marks the transactions whose latest label at the own time says fraud. */
static void mark_frauds(struct frame *f, const struct constants *c, struct table *latest)
{
    int64_t known = 0;
    empty(latest);
    for (int64_t k = 0; k < f->label_count && f->label_at[k] < f->count; k++) {
        const int64_t i = f->label_at[k], known_ms = field(f, i, TIME);
        if (known_ms > f->own_ms || known_ms <= f->after_ms)
            continue;
        struct slot *slot = slot_of(latest, field(f, i, OTHER));
        if (first_time(latest, field(f, i, OTHER)) || !later_label(f, c, slot->value, i))
            slot->value = (uint32_t)i;
        known += 1;
    }
    f->fraud_count = 0;
    for (int64_t i = 0; known && i < f->count; i++) {
        const struct slot *slot = slot_of(latest, field(f, i, ID));
        f->fraud[i] = f->time[i] != NO_TIME_MS && slot->round == latest->round &&
                      (field(f, slot->value, FLAGS) & c->fraud_bit) != 0;
        f->fraud_count += f->fraud[i];
    }
}

#endif
