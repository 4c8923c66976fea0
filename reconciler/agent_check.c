#include <stdlib.h>

#include "api/valid.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "net/nw_want.h"
#include "net/reach_sm.h"
#include "reconciler/agent_priv.h"

/* NetworkChecks: every interval each target is asked through the driver; when all have answered or
 * their time is over, the round is counted (net/reach_sm.h).  What is reported changes only with
 * the counted word, so that one lost packet is no entry of the log. */

#define CHECK_MAGIC 0x63686b73U
#define ABORT_MS 2000U /* after its own deadline a question is given up */

struct check_target {
    struct agent_check *c;
    struct drv_job job;
    char *address;
    enum reach_answer answer;
    bool asked; /* in flight */
};

struct agent_check {
    unsigned magic;
    struct agent *a;
    struct agent_check *next;
    char *name, *uid;
    int64_t generation;
    struct reach_rule rule;
    struct reach reach;
    struct check_target targets[REACH_TARGETS_MAX];
    uint16_t port;
    uint64_t interval_ms, timeout_ms;
    uint64_t next_ms; /* the next round begins */
    uint64_t since_wall_ms;
    size_t open;     /* questions in flight */
    char blind[200]; /* why a target could not be asked, "" */
    bool dropped;
};

static void arm(struct agent *a);

static void check_free(struct agent_check *c)
{
    struct agent_check **at = &c->a->checks;

    while (*at != c) {
        CHECK(*at != NULL);
        at = &(*at)->next;
    }
    *at = c->next;
    for (size_t i = 0; i < ARRAY_LEN(c->targets); i++) {
        free(c->targets[i].address);
    }
    free(c->name);
    free(c->uid);
    c->magic = 0;
    free(c);
}

/* --- what is said ------------------------------------------------------------------------------
 */

static char *silent_ones(const struct agent_check *c, size_t *ret_reached)
{
    struct buf b = { 0 };

    *ret_reached = 0;
    for (size_t i = 0; i < c->rule.n_targets; i++) {
        if (c->reach.targets[i].state == REACH_PASSING) {
            ++*ret_reached;
        } else {
            buf_printf(&b, "%s%s", b.len == 0 ? "" : ", ", c->targets[i].address);
        }
    }
    return buf_take(&b, NULL);
}

static char *words(const struct agent_check *c, size_t reached, const char *silent)
{
    char how[24] = "ping";

    if (c->port != 0) {
        (void)snprintf(how, sizeof(how), "TCP port %u", c->port);
    }
    if (c->reach.all.state == REACH_UNKNOWN) {
        return mem_printf("%s", c->blind[0] == 0 ? "not asked often enough yet" : c->blind);
    }
    if (reached == c->rule.n_targets) {
        return mem_printf("%s", "");
    }
    return mem_printf("%zu of %zu targets answer (%s), %u %s needed; no answer from %s", reached,
                      c->rule.n_targets, how, c->rule.threshold,
                      c->rule.threshold == 1 ? "is" : "are", silent);
}

static void report(struct agent_check *c)
{
    static const char *const states[] = {
        [REACH_UNKNOWN] = "Unknown", [REACH_PASSING] = "Ready", [REACH_FAILING] = "NotReady"
    };
    static const char *const reasons[] = {
        [REACH_UNKNOWN] = "NotAsked", [REACH_PASSING] = "Reachable", [REACH_FAILING] = "NoAnswer"
    };
    enum reach_state st = c->reach.all.state;
    size_t reached;
    char *silent = silent_ones(c, &reached);
    char *message = words(c, reached, silent);
    char since[32];

    str_format_time(c->since_wall_ms, since, sizeof(since));
    agent_report_put(c->a, "networkchecks", c->name,
                     json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:{s:s, s:I, s:s}}", "kind",
                               "NetworkCheck", "name", c->name, "uid", c->uid, "state", states[st],
                               "reason", reasons[st], "message", message, "generation",
                               (json_int_t)c->generation, "status", "state", reach_state_name(st),
                               "reachable", (json_int_t)reached, "since", since));
    free(silent);
    free(message);
}

/* --- a round -----------------------------------------------------------------------------------
 */

static void round_over(struct agent_check *c)
{
    enum reach_answer answers[REACH_TARGETS_MAX];
    enum reach_state was = c->reach.all.state;

    for (size_t i = 0; i < c->rule.n_targets; i++) {
        answers[i] = c->targets[i].answer;
    }
    if (!reach_round(&c->reach, &c->rule, answers)) {
        return;
    }
    if (c->reach.all.state != was) {
        c->since_wall_ms = clock_wall_ms();
        lg_info("agent", "check=%s was=%s state=%s", c->name, reach_state_name(was),
                reach_state_name(c->reach.all.state));
    }
    report(c);
}

static void on_answer(struct drv_job *job, const struct err *err)
{
    struct check_target *t = job->data;
    struct agent_check *c = t->c;

    OBJ_CHECK(c, CHECK_MAGIC);
    t->asked = false;
    if (err == NULL) {
        t->answer = REACH_ANSWERED;
    } else if (err->code == ERR_TIMEOUT || err->code == ERR_UNREACHABLE) {
        t->answer = REACH_SILENT;
    } else {
        t->answer = REACH_NOT_ASKED;
        (void)str_copy(c->blind, sizeof(c->blind), err->msg);
    }
    if (--c->open > 0) {
        return;
    }
    if (c->a->stopping || c->dropped) {
        check_free(c);
        return;
    }
    round_over(c);
}

static void round_begin(struct agent_check *c, uint64_t now)
{
    c->next_ms = now + c->interval_ms;
    c->open = c->rule.n_targets;
    c->blind[0] = 0;
    for (size_t i = 0; i < c->rule.n_targets; i++) {
        struct check_target *t = &c->targets[i];

        t->asked = true;
        t->job = (struct drv_job){ .magic = DRV_JOB_MAGIC,
                                   .op = DRV_PING,
                                   .name = t->address,
                                   .port = c->port,
                                   .deadline_ms = now + c->timeout_ms,
                                   .cb = on_answer,
                                   .data = t };
        drv_submit(c->a->drv, &t->job);
    }
}

static void give_up(struct agent_check *c, uint64_t now)
{
    for (size_t i = 0; i < c->rule.n_targets; i++) {
        struct check_target *t = &c->targets[i];

        if (t->asked && t->job.deadline_ms != UINT64_MAX && now > t->job.deadline_ms + ABORT_MS) {
            t->job.deadline_ms = UINT64_MAX;
            drv_abort(c->a->drv, &t->job);
        }
    }
}

static void on_timer(uv_timer_t *h)
{
    struct agent *a;
    uint64_t now = clock_now_ms();

    OBJ_FROM(a, h->data, AGENT_MAGIC);
    for (struct agent_check *c = a->checks; c != NULL; c = c->next) {
        if (c->dropped || now < c->next_ms) {
            continue;
        }
        if (c->open == 0) {
            round_begin(c, now);
        } else { /* slower than the interval: the round under way counts for this one, too */
            give_up(c, now);
            c->next_ms = now + c->interval_ms;
        }
    }
    arm(a);
}

static void arm(struct agent *a)
{
    uint64_t now = clock_now_ms(), at = UINT64_MAX;

    for (const struct agent_check *c = a->checks; c != NULL; c = c->next) {
        at = !c->dropped && c->next_ms < at ? c->next_ms : at;
    }
    if (a->stopping) {
        return;
    }
    if (at == UINT64_MAX) {
        (void)uv_timer_stop(&a->check_timer);
        return;
    }
    uv_update_time(a->loop);
    CHECK(uv_timer_start(&a->check_timer, on_timer, at > now ? at - now : 0, 0) == 0);
}

/* --- which there are ---------------------------------------------------------------------------
 */

static struct agent_check *check_of(const struct agent *a, const char *name)
{
    struct agent_check *c = a->checks;

    while (c != NULL && (c->dropped || !str_eq(c->name, name))) {
        c = c->next;
    }
    return c;
}

static void drop(struct agent_check *c)
{
    agent_report_put(c->a, "networkchecks", c->name, NULL);
    c->dropped = true;
    if (c->open == 0) {
        check_free(c);
    }
}

static void read_rule(struct agent_check *c, const json_t *obj)
{
    const json_t *targets = jget(obj, "spec.targets");
    size_t n = json_array_size(targets);

    c->generation = jget_int(obj, "metadata.generation", 0);
    c->rule = (struct reach_rule){
        .n_targets = n > REACH_TARGETS_MAX ? REACH_TARGETS_MAX : n,
        .threshold = (unsigned)jget_int(obj, "spec.threshold", 1),
        .failures = (unsigned)jget_int(obj, "spec.failures", 5),
        .recoveries = (unsigned)jget_int(obj, "spec.recoveries", 5),
    };
    c->port = (uint16_t)jget_int(obj, "spec.port", 0);
    c->interval_ms = jget_duration(obj, "spec.interval", 1000);
    c->timeout_ms = jget_duration(obj, "spec.timeout", c->interval_ms);
    for (size_t i = 0; i < c->rule.n_targets; i++) {
        c->targets[i].c = c;
        c->targets[i].address = mem_strdup(json_string_value(json_array_get(targets, i)));
    }
}

static struct agent_check *check_new(struct agent *a, const char *name, const json_t *obj)
{
    struct agent_check *c = OBJ_NEW(struct agent_check);

    c->magic = CHECK_MAGIC;
    c->a = a;
    c->name = mem_strdup(name);
    c->uid = mem_strdup(jget_str(obj, "metadata.uid", ""));
    c->since_wall_ms = clock_wall_ms();
    read_rule(c, obj);
    c->next = a->checks;
    a->checks = c;
    return c;
}

/* The object was changed: the last word holds until the new rule has one. */
static void replace(struct agent_check *old, const json_t *obj)
{
    struct agent_check *c = check_new(old->a, old->name, obj);

    c->reach = old->reach;
    c->since_wall_ms = old->since_wall_ms;
    reach_restart(&c->reach);
    old->dropped = true;
    if (old->open == 0) {
        check_free(old);
    }
}

static bool here(struct agent *a, const json_t *obj)
{
    const json_t *host = agent_object(a, "hosts", a->name);

    return obj != NULL && host != NULL && !jget_bool(obj, "spec.paused", false) &&
           nw_want_applies(obj, a->name, jget(host, "metadata.labels"));
}

static void follow(struct agent *a, const char *name, const json_t *obj)
{
    struct agent_check *c = check_of(a, name);

    if (!here(a, obj)) {
        if (c != NULL) {
            drop(c);
        }
    } else if (c == NULL || !str_eq(c->uid, jget_str(obj, "metadata.uid", ""))) {
        if (c != NULL) {
            drop(c);
        }
        (void)check_new(a, name, obj);
    } else if (c->generation != jget_int(obj, "metadata.generation", 0)) {
        replace(c, obj);
    }
}

void agent_check_follow(struct agent *a, const char *name)
{
    follow(a, name, agent_object(a, "networkchecks", name));
    arm(a);
}

void agent_check_follow_all(struct agent *a)
{
    const struct agent_cache *cache = agent_cache(a, "networkchecks");
    const char *name;
    void *v;

    for (size_t i = 0; cache != NULL && map_next(&cache->objects, &i, &name, &v);) {
        follow(a, name, agent_object(a, "networkchecks", name));
    }
    arm(a);
}

void agent_check_init(struct agent *a)
{
    CHECK(uv_timer_init(a->loop, &a->check_timer) == 0);
    a->check_timer.data = a;
}

void agent_check_done(struct agent *a)
{
    while (a->checks != NULL) {
        check_free(a->checks);
    }
}
