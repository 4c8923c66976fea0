/* In the place of libuv: timers, asyncs and idles on the simulator's queue.  A loop belongs to the
 * process that made it; a thread's loop runs like the main one, since every event comes from the
 * scheduler. */

#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim_priv.h"

/* A handle's place in the table: events name (slot, generation), so that what was closed, or died
 * with its process, is never touched. */
struct slot {
    uint64_t gen;
    uv_handle_t *h;
    uint32_t next_free;
    bool pending; /* an async that was sent */
    bool active;
};

static struct slot *slots;
static uint32_t n_slots, cap_slots, free_slot;

static struct slot *slot_of(const uv_handle_t *h)
{
    uint64_t i = (uintptr_t)h->u.reserved[0];

    CHECK(i >= 1 && i <= n_slots);
    return &slots[i - 1];
}

static void slot_new(uv_handle_t *h, uv_loop_t *loop, uv_handle_type type)
{
    uint32_t i = free_slot;
    void *data = h->data;

    if (i != 0) {
        free_slot = slots[i - 1].next_free;
    } else {
        if (n_slots == cap_slots) {
            SIM_WORLD_BEGIN();
            cap_slots = cap_slots == 0 ? 1024 : cap_slots * 2;
            slots = mem_realloc(slots, cap_slots * sizeof(*slots));
            SIM_WORLD_END();
        }
        slots[n_slots] = (struct slot){ .gen = 1 };
        i = ++n_slots;
    }
    slots[i - 1].h = h;
    slots[i - 1].pending = slots[i - 1].active = false;
    slots[i - 1].gen++;
    h->data = data;
    h->loop = loop;
    h->type = type;
    h->flags = 0;
    h->u.reserved[0] = (void *)(uintptr_t)i;
    loop->active_handles++;
}

static void slot_free(uint32_t i)
{
    slots[i - 1].gen++;
    slots[i - 1].h = NULL;
    slots[i - 1].next_free = free_slot;
    free_slot = i;
}

static uint64_t slot_no(const uv_handle_t *h)
{
    return (uintptr_t)h->u.reserved[0];
}

/* The handle, if it is still the one that was meant. */
static uv_handle_t *slot_get(uint64_t i, uint64_t gen)
{
    return slots[i - 1].gen == gen ? slots[i - 1].h : NULL;
}

static void slot_post(uv_handle_t *h, uint64_t delay_us, sim_fn *fn)
{
    struct slot *sl = slot_of(h);

    sim_post(h->loop->data, delay_us, fn, (void *)(uintptr_t)slot_no(h), ++sl->gen);
}

void sim_uv_reset(void)
{
    free(slots);
    slots = NULL;
    n_slots = cap_slots = free_slot = 0;
}

/* --- loops -------------------------------------------------------------------------------------
 */

int uv_loop_init(uv_loop_t *loop)
{
    memset(loop, 0, sizeof(*loop));
    loop->data = sim_world->cur;
    return 0;
}

uv_loop_t *sim_loop_new(void)
{
    uv_loop_t *loop = OBJ_NEW(uv_loop_t);

    CHECK(uv_loop_init(loop) == 0);
    return loop;
}

int uv_loop_close(uv_loop_t *loop)
{
    (void)loop;
    return 0;
}

int uv_run(uv_loop_t *loop, uv_run_mode mode)
{
    (void)loop;
    (void)mode;
    return 0; /* the scheduler runs everything */
}

uint64_t uv_now(const uv_loop_t *loop)
{
    const struct proc *p = loop->data;

    return machine_ms(p->m);
}

void uv_update_time(uv_loop_t *loop)
{
    (void)loop;
}

int uv_is_closing(const uv_handle_t *h)
{
    return (h->flags & 1U) != 0;
}

static void on_close(void *arg, uint64_t gen)
{
    uint64_t i = (uintptr_t)arg;
    uv_handle_t *h = slot_get(i, gen);

    if (h == NULL) {
        return;
    }
    slot_free((uint32_t)i);
    h->loop->active_handles--;
    if (h->close_cb != NULL) {
        h->close_cb(h);
    }
}

void uv_close(uv_handle_t *h, uv_close_cb cb)
{
    CHECK(!uv_is_closing(h));
    h->flags |= 1U;
    h->close_cb = cb;
    slot_of(h)->active = false;
    slot_post(h, 0, on_close);
}

/* --- timers ------------------------------------------------------------------------------------
 */

int uv_timer_init(uv_loop_t *loop, uv_timer_t *t)
{
    slot_new((uv_handle_t *)t, loop, UV_TIMER);
    t->timer_cb = NULL;
    t->timeout = t->repeat = 0;
    return 0;
}

static void on_timer(void *arg, uint64_t gen);

static void timer_arm(uv_timer_t *t, uint64_t ms)
{
    const struct proc *p = t->loop->data;

    t->timeout = machine_ms(p->m) + ms;
    slot_of((uv_handle_t *)t)->active = true;
    slot_post((uv_handle_t *)t, machine_delay_us(p->m, ms), on_timer);
}

static void on_timer(void *arg, uint64_t gen)
{
    uv_timer_t *t = (uv_timer_t *)slot_get((uintptr_t)arg, gen);

    if (t == NULL) {
        return;
    }
    slot_of((uv_handle_t *)t)->active = false;
    if (t->repeat != 0) {
        timer_arm(t, t->repeat);
    }
    t->timer_cb(t);
}

int uv_timer_start(uv_timer_t *t, uv_timer_cb cb, uint64_t timeout, uint64_t repeat)
{
    if (uv_is_closing((uv_handle_t *)t) || cb == NULL) {
        return UV_EINVAL;
    }
    t->timer_cb = cb;
    t->repeat = repeat;
    timer_arm(t, timeout);
    return 0;
}

int uv_timer_stop(uv_timer_t *t)
{
    struct slot *sl = slot_of((uv_handle_t *)t);

    if (!uv_is_closing((uv_handle_t *)t)) {
        sl->gen++;
        sl->active = false;
    }
    return 0;
}

uint64_t uv_timer_get_repeat(const uv_timer_t *t)
{
    return t->repeat;
}

uint64_t uv_timer_get_due_in(const uv_timer_t *t)
{
    const struct proc *p = t->loop->data;
    uint64_t now = machine_ms(p->m);

    return t->timeout > now ? t->timeout - now : 0;
}

/* --- asyncs and idles --------------------------------------------------------------------------
 */

int uv_async_init(uv_loop_t *loop, uv_async_t *a, uv_async_cb cb)
{
    slot_new((uv_handle_t *)a, loop, UV_ASYNC);
    a->async_cb = cb;
    return 0;
}

static void on_async(void *arg, uint64_t gen)
{
    uv_async_t *a = (uv_async_t *)slot_get((uintptr_t)arg, gen);

    if (a != NULL) {
        slot_of((uv_handle_t *)a)->pending = false;
        a->async_cb(a);
    }
}

int uv_async_send(uv_async_t *a)
{
    struct slot *sl = slot_of((uv_handle_t *)a);

    if (!sl->pending && !uv_is_closing((uv_handle_t *)a)) {
        sl->pending = true;
        slot_post((uv_handle_t *)a, 0, on_async);
    }
    return 0;
}

int uv_idle_init(uv_loop_t *loop, uv_idle_t *h)
{
    slot_new((uv_handle_t *)h, loop, UV_IDLE);
    return 0;
}

/* An idle that goes on is asked again after a moment: virtual time must move. */
static void on_idle(void *arg, uint64_t gen)
{
    uv_idle_t *h = (uv_idle_t *)slot_get((uintptr_t)arg, gen);

    if (h != NULL && slot_of((uv_handle_t *)h)->active) {
        slot_post((uv_handle_t *)h, 50, on_idle);
        h->idle_cb(h);
    }
}

int uv_idle_start(uv_idle_t *h, uv_idle_cb cb)
{
    struct slot *sl = slot_of((uv_handle_t *)h);

    h->idle_cb = cb;
    if (!sl->active) {
        sl->active = true;
        slot_post((uv_handle_t *)h, 0, on_idle);
    }
    return 0;
}

int uv_idle_stop(uv_idle_t *h)
{
    struct slot *sl = slot_of((uv_handle_t *)h);

    if (sl->active) {
        sl->active = false;
        sl->gen++;
    }
    return 0;
}

/* --- threads -----------------------------------------------------------------------------------
 * A thread of the product runs a loop and nothing else, so there is nothing to run. */

int uv_thread_create(uv_thread_t *t, uv_thread_cb entry, void *arg)
{
    *t = 0;
    entry(arg); /* its uv_run returns at once */
    return 0;
}

int uv_thread_join(uv_thread_t *t)
{
    (void)t;
    return 0;
}

int uv_mutex_init(uv_mutex_t *m)
{
    (void)m;
    return 0;
}

void uv_mutex_destroy(uv_mutex_t *m)
{
    (void)m;
}

void uv_mutex_lock(uv_mutex_t *m)
{
    (void)m;
}

void uv_mutex_unlock(uv_mutex_t *m)
{
    (void)m;
}

static void on_work(void *arg, uint64_t n)
{
    uv_work_t *w = arg;

    (void)n;
    w->work_cb(w);
    w->after_work_cb(w, 0);
}

int uv_queue_work(uv_loop_t *loop, uv_work_t *w, uv_work_cb work, uv_after_work_cb after)
{
    w->loop = loop;
    w->work_cb = work;
    w->after_work_cb = after;
    sim_post(loop->data, 1000 + sim_rand(20000), on_work, w, 0);
    return 0;
}

/* --- turns of the loop -------------------------------------------------------------------------
 * Processing takes no virtual time, so that nobody is told of turns. */

int uv_loop_configure(uv_loop_t *loop, uv_loop_option option, ...)
{
    (void)loop;
    (void)option;
    return 0;
}

/* A turn of the loop takes no virtual time: all of it is idle. */
uint64_t uv_metrics_idle_time(uv_loop_t *loop)
{
    (void)loop;
    return 0;
}

int uv_prepare_init(uv_loop_t *loop, uv_prepare_t *h)
{
    slot_new((uv_handle_t *)h, loop, UV_PREPARE);
    return 0;
}

int uv_prepare_start(uv_prepare_t *h, uv_prepare_cb cb)
{
    h->prepare_cb = cb;
    return 0;
}

int uv_check_init(uv_loop_t *loop, uv_check_t *h)
{
    slot_new((uv_handle_t *)h, loop, UV_CHECK);
    return 0;
}

int uv_check_start(uv_check_t *h, uv_check_cb cb)
{
    h->check_cb = cb;
    return 0;
}
