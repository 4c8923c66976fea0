/* The scheduler: events in the order of virtual time, each in the context of its process. */

#include <inttypes.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "raft/rep_env.h"
#include "tests/sim/sim_priv.h"

#define SAME_MAX 200000U /* events at one moment */

struct sim *sim_world;

static jmp_buf core_jump;
static bool core_running;
static char core_failed[300];

/* --- the queue ---------------------------------------------------------------------------------
 */

static bool ev_before(const struct ev *a, const struct ev *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void ev_push(struct sim *s, const struct ev *e)
{
    size_t i = s->n++;

    if (s->n > s->cap) {
        SIM_WORLD_BEGIN();
        s->cap = s->cap == 0 ? 1024 : s->cap * 2;
        s->heap = mem_realloc(s->heap, s->cap * sizeof(*s->heap));
        SIM_WORLD_END();
    }
    while (i > 0 && ev_before(e, &s->heap[(i - 1) / 2])) {
        s->heap[i] = s->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    s->heap[i] = *e;
}

static struct ev ev_pop(struct sim *s)
{
    struct ev top = s->heap[0], last = s->heap[--s->n];
    size_t i = 0;

    for (;;) {
        size_t c = 2 * i + 1;

        if (c + 1 < s->n && ev_before(&s->heap[c + 1], &s->heap[c])) {
            c++;
        }
        if (c >= s->n || !ev_before(&s->heap[c], &last)) {
            break;
        }
        s->heap[i] = s->heap[c];
        i = c;
    }
    if (s->n > 0) {
        s->heap[i] = last;
    }
    return top;
}

void sim_post(struct proc *p, uint64_t delay_us, sim_fn *fn, void *arg, uint64_t n)
{
    struct sim *s = sim_world;
    struct ev e = { .at = s->now + delay_us,
                    .order = ++s->order,
                    .p = p,
                    .life = p == NULL ? 0 : p->life,
                    .fn = fn,
                    .arg = arg,
                    .n = n };

    ev_push(s, &e);
}

/* --- contexts ----------------------------------------------------------------------------------
 */

struct proc *sim_enter(struct proc *p)
{
    struct proc *before = sim_world->cur;

    sim_world->cur = p;
    sim_heap = p == NULL ? HEAP_WORLD : p->heap;
    return before;
}

void sim_leave(struct proc *before)
{
    (void)sim_enter(before);
}

uint64_t sim_rand(uint64_t n)
{
    return prng_below(&sim_world->prng, n);
}

static void defer(struct proc *p, const struct ev *e)
{
    if (p->n_deferred == p->deferred_cap) {
        p->deferred_cap = p->deferred_cap == 0 ? 64 : p->deferred_cap * 2;
        p->deferred = mem_realloc(p->deferred, p->deferred_cap * sizeof(*p->deferred));
    }
    p->deferred[p->n_deferred++] = *e;
}

void proc_run_deferred(struct proc *p)
{
    struct sim *s = sim_world;

    for (size_t i = 0; i < p->n_deferred; i++) {
        struct ev e = p->deferred[i];

        e.at = s->now;
        e.order = ++s->order;
        ev_push(s, &e);
    }
    p->n_deferred = 0;
}

/* A CHECK of the product failed: its process is dead, and that is a finding. */
static void on_check(const char *expr, const char *file, int line)
{
    (void)snprintf(core_failed, sizeof(core_failed), "CHECK(%s) at %s:%d", expr, file, line);
    if (!core_running || sim_world->cur == NULL) {
        (void)fprintf(stderr, "sim: %s in the simulator itself at %" PRIu64 " us\n", core_failed,
                      sim_world == NULL ? 0 : sim_world->now);
        abort();
    }
    longjmp(core_jump, 1);
}

/* Nor does a process of the product end itself but for a finding: it says so before. */
void __real__exit(int status) __attribute__((noreturn));
void __wrap__exit(int status) __attribute__((noreturn));

void __wrap__exit(int status)
{
    if (!core_running || sim_world->cur == NULL) {
        __real__exit(status);
    }
    (void)snprintf(core_failed, sizeof(core_failed), "the process ended itself with status %d",
                   status);
    longjmp(core_jump, 1);
}

void sim_crash_on_check(void)
{
    check_set_handler(on_check);
}

static void reap(struct proc *p)
{
    if (p->alive && p->dying) {
        proc_end(p, false, p->why);
    }
}

static void after_proc(struct proc *p)
{
    if (p->alive && !p->dying && p->rep != NULL) {
        rep_step(p->rep);
    }
}

static void run_event(struct sim *s, const struct ev *e)
{
    struct proc *p = e->p;

    if (p == NULL) {
        e->fn(e->arg, e->n);
        return;
    }
    if (!p->alive || p->life != e->life) {
        return;
    }
    if (p->paused || p->m->suspended) {
        defer(p, e);
        return;
    }
    (void)sim_enter(p);
    e->fn(e->arg, e->n);
    after_proc(p);
    sim_leave(NULL);
    reap(p);
    (void)s;
}

/* A process that wakes itself without end would keep time from going on. */
static void stands_still(struct sim *s, struct proc *p)
{
    s->same = 0;
    sim_violate(s, "%s: a process goes round and round without any time passing", p->m->name);
    proc_end(p, false, "it went round and round");
}

static void one_event(struct sim *s)
{
    struct ev e = ev_pop(s);

    CHECK(e.at >= s->now);
    s->same = e.at == s->now ? s->same + 1 : 0;
    s->now = e.at;
    s->stats.events++;
    if (s->same > SAME_MAX && e.p != NULL && e.p->alive && e.p->life == e.life) {
        stands_still(s, e.p);
        return;
    }
    run_event(s, &e);
}

static void check_failed(struct sim *s)
{
    struct proc *p = s->cur;

    (void)sim_enter(NULL);
    sim_violate(s, "%s: %s", p->m->name, core_failed);
    p->dying = true;
    (void)str_copy(p->why, sizeof(p->why), core_failed);
    reap(p);
}

static bool run_to(struct sim *s, uint64_t until, bool (*done)(struct sim *s, void *ctx), void *ctx)
{
    volatile bool end = false;

    CHECK(s->cur == NULL && !core_running);
    core_running = true;
    if (setjmp(core_jump) != 0) {
        check_failed(s);
    }
    while (!end && s->n > 0 && s->heap[0].at <= until) {
        one_event(s);
        end = done != NULL && done(s, ctx);
    }
    core_running = false;
    if (!end) {
        s->now = until;
    }
    return end;
}

void sim_run(struct sim *s, uint64_t ms)
{
    (void)run_to(s, s->now + ms * 1000, NULL, NULL);
}

bool sim_run_until(struct sim *s, bool (*done)(struct sim *s, void *ctx), void *ctx, uint64_t ms)
{
    return done(s, ctx) || run_to(s, s->now + ms * 1000, done, ctx);
}

/* What happens next happens that much later, and no clock that the product reads has moved but the
 * wall's: in a quiet cluster every heartbeat is like the one before. */
void sim_skip(struct sim *s, uint64_t ms)
{
    uint64_t us = ms * 1000;

    CHECK(s->cur == NULL && !core_running);
    for (size_t i = 0; i < s->n; i++) {
        s->heap[i].at += us;
    }
    for (unsigned i = 0; i <= s->n_machines; i++) {
        struct machine *m = &s->machines[i];

        m->clk_world_us += us;
        m->hurt_us += us;
        m->booted_us += us;
        m->drv_at_us += m->drv_at_us == 0 ? 0 : us;
    }
    sim_net_skip(s, us);
    s->now += us;
    s->stats.skipped_ms += ms * s->opts.hosts;
    sim_log(s, "quiet: %" PRIu64 " s skipped", ms / 1000);
}

uint64_t sim_time(const struct sim *s)
{
    return s->now / 1000;
}

void sim_core_free(struct sim *s)
{
    free(s->heap);
    free(s->log);
}

/* --- the log -----------------------------------------------------------------------------------
 */

static void log_add(struct sim *s, const char *line)
{
    char when[32];
    int n = snprintf(when, sizeof(when), "%5" PRIu64 ".%06" PRIu64 " ", s->now / 1000000,
                     s->now % 1000000);
    size_t len = strlen(line);

    if (s->log_len + (size_t)n + len + 2 > s->log_cap) {
        s->log_cap = (s->log_cap + len + 4096) * 2;
        s->log = mem_realloc(s->log, s->log_cap);
    }
    memcpy(s->log + s->log_len, when, (size_t)n);
    memcpy(s->log + s->log_len + n, line, len);
    s->log[s->log_len + (size_t)n + len] = '\n';
    for (size_t i = 0; i < (size_t)n + len + 1; i++) {
        s->log_hash = (s->log_hash ^ (uint8_t)s->log[s->log_len + i]) * 0x100000001b3ULL;
    }
    if (s->opts.log != NULL) {
        (void)fwrite(s->log + s->log_len, 1, (size_t)n + len + 1, s->opts.log);
    }
    s->log_len += (size_t)n + len + 1;
    s->log[s->log_len] = '\0';
}

static void log_line(struct sim *s, const char *fmt, va_list ap)
{
    char line[2048];

    (void)vsnprintf(line, sizeof(line), fmt, ap);
    for (char *c = line; *c != '\0'; c++) {
        *c = (unsigned char)*c < ' ' ? ' ' : *c;
    }
    log_add(s, line);
    if (s->on_line != NULL) {
        s->on_line(s->on_line_ctx, s->now / 1000, line);
    }
}

void sim_log(struct sim *s, const char *fmt, ...)
{
    va_list ap;

    SIM_WORLD_BEGIN();
    va_start(ap, fmt);
    log_line(s, fmt, ap);
    va_end(ap);
    SIM_WORLD_END();
}

void sim_violate(struct sim *s, const char *fmt, ...)
{
    char what[512];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    if (s->violations++ == 0) {
        (void)str_copy(s->violation, sizeof(s->violation), what);
    }
    sim_log(s, "VIOLATION %s", what);
}

const char *sim_violation(const struct sim *s)
{
    return s->violations == 0 ? NULL : s->violation;
}

size_t sim_violations(const struct sim *s)
{
    return s->violations;
}

const char *sim_log_text(const struct sim *s)
{
    return s->log == NULL ? "" : s->log;
}

uint64_t sim_log_hash(const struct sim *s)
{
    return s->log_hash;
}

void sim_on_line(struct sim *s, void (*fn)(void *ctx, uint64_t ms, const char *line), void *ctx)
{
    s->on_line = fn;
    s->on_line_ctx = ctx;
}

uint64_t sim_random(struct sim *s, uint64_t n)
{
    return prng_below(&s->prng, n);
}
