/* In the place of fence/slot_io.c: the storage heartbeat on the one shared volume of the world, a
 * turn of the agent's process instead of a thread.  Who cannot reach the volume (sim_volume_cut),
 * or stands still, neither writes nor reads. */

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "fence/slot.h"
#include "tests/sim/sim_priv.h"

#define STALE_BEATS 120U /* as in slot_io.c */

struct slots {
    struct proc *p;
    char host[SLOT_HOST_MAX];
    char volume[512]; /* "VG/LV" */
    uint32_t heartbeat_ms;
    uint64_t counter;
    uint64_t epoch, incarnation;
    struct slot_table table;
    char error[200];
    bool stop;
};

static uint8_t *the_volume(struct sim *s)
{
    if (s->slots == NULL) {
        SIM_WORLD_BEGIN();
        s->slots = mem_alloc(SLOT_FILE_BYTES);
        SIM_WORLD_END();
    }
    return s->slots;
}

static void write_own(struct slots *s, uint8_t *image, int at)
{
    struct slot_rec rec = { .epoch = s->epoch,
                            .incarnation = s->incarnation,
                            .counter = ++s->counter,
                            .wall_ms = clock_wall_ms() };

    (void)str_copy(rec.host, sizeof(rec.host), s->host);
    if (rec.incarnation != 0) {
        slot_encode(&rec, image + (size_t)at * SLOT_BYTES);
    }
}

static void beat(struct slots *s)
{
    uint8_t *image = the_volume(s->p->m->s);
    uint64_t now = clock_now_ms();
    int at;

    if (map_get(&s->p->m->unreachable, s->volume) != NULL) {
        (void)str_copy(s->error, sizeof(s->error), "storage heartbeat: no path to the volume");
        return;
    }
    slot_table_feed(&s->table, image, now);
    at = slot_table_pick(&s->table, s->host, now, (uint64_t)STALE_BEATS * s->heartbeat_ms);
    s->error[0] = '\0';
    if (at < 0) {
        (void)str_copy(s->error, sizeof(s->error), "no free sector");
    } else {
        write_own(s, image, at);
    }
}

static void on_beat(void *arg, uint64_t n)
{
    struct slots *s = arg;

    if (s->stop) {
        free(s);
        return;
    }
    beat(s);
    sim_post(s->p, machine_delay_us(s->p->m, s->heartbeat_ms), on_beat, s, n);
}

int slots_start(const struct slots_opts *opts, struct slots **ret, struct err *err)
{
    struct slots *s = OBJ_NEW(struct slots);

    (void)err;
    s->p = sim_world->cur;
    s->heartbeat_ms = opts->heartbeat_ms;
    s->counter = clock_wall_ms();
    (void)str_copy(s->host, sizeof(s->host), opts->host);
    CHECK(str_starts(opts->path, "/dev/"));
    (void)str_copy(s->volume, sizeof(s->volume), opts->path + strlen("/dev/"));
    sim_post(s->p, 0, on_beat, s, 0);
    *ret = s;
    return 0;
}

void slots_stop(struct slots *s)
{
    if (s != NULL) {
        s->stop = true;
    }
}

void slots_identity(struct slots *s, uint64_t epoch, uint64_t incarnation)
{
    s->epoch = epoch;
    s->incarnation = incarnation;
}

size_t slots_seen(struct slots *s, struct slot_seen *dst, size_t max)
{
    uint64_t now = clock_now_ms();
    size_t n = 0;

    for (size_t i = 0; i < SLOT_COUNT && n < max; i++) {
        const struct slot_track *t = &s->table.slots[i];

        if (!t->used || t->changed_ms == 0 || str_eq(t->rec.host, s->host)) {
            continue;
        }
        dst[n] = (struct slot_seen){ .epoch = t->rec.epoch, .incarnation = t->rec.incarnation };
        dst[n].age_ms = now > t->changed_ms ? now - t->changed_ms : 0;
        (void)str_copy(dst[n++].host, SLOT_HOST_MAX, t->rec.host);
    }
    return n;
}

void slots_error(struct slots *s, char *dst, size_t size)
{
    (void)str_copy(dst, size, s->error);
}
