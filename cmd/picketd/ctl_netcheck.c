/* NetworkChecks: what the hosts report of each, what that means together (net/reach_plan.h), the
 * check's status, and the condition NetworkReachable of the hosts, which placement reads. */

#include <stdlib.h>
#include <string.h>

#include "api/valid.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/ctl_priv.h"
#include "net/nw_want.h"
#include "net/reach_plan.h"

#define COND "NetworkReachable"

struct netcheck_host {
    const struct ctl_obj *o;
    const json_t *report; /* NULL: none that counts */
};

struct netcheck {
    const struct ctl_obj *o;
    struct netcheck_host *hosts; /* that it is for */
    struct reach_host *facts;
    size_t n;
    bool move;
};

/* A host without a lease says nothing; what it reported last may be old. */
static const json_t *report_of(struct pass *p, const struct ctl_obj *check, const char *host)
{
    return pass_host_ready(p, host) ? ctl_report(p->c, host, "networkchecks", check->name) : NULL;
}

static void check_hosts(struct pass *p, struct netcheck *c)
{
    const struct kind *k = kind_by_plural("hosts");
    const struct ctl_obj *o;
    size_t max = 0;

    for (size_t pos = 0; ctl_next(p->c, k, &pos) != NULL;) {
        max++;
    }
    c->hosts = ARENA_ARRAY(&p->a, struct netcheck_host, max + 1);
    c->facts = ARENA_ARRAY(&p->a, struct reach_host, max + 1);
    for (size_t pos = 0; (o = ctl_next(p->c, k, &pos)) != NULL;) {
        const json_t *rep;

        if (!nw_want_applies(c->o->json, o->name, jget(o->json, "metadata.labels"))) {
            continue;
        }
        rep = report_of(p, c->o, o->name);
        c->hosts[c->n] = (struct netcheck_host){ .o = o, .report = rep };
        c->facts[c->n++] =
            (struct reach_host){ .state = reach_state_parse(jget_str(rep, "status.state", "")) };
    }
}

/* Which check a host is leaving for is in the condition's message only: being told once is enough.
 */
static bool leaves(const struct ctl_obj *host)
{
    return str_eq(jget_str(cond_get(host->json, COND), "reason", ""), "MigrateAway");
}

static void check_decide(struct pass *p, struct netcheck *c)
{
    uint64_t interval = jget_duration(c->o->json, "spec.interval", 1000);
    uint64_t settle = reach_settle_ms(interval, jget_duration(c->o->json, "spec.timeout", interval),
                                      p->timing.heartbeat_ms);
    uint64_t next;

    c->move = str_eq(jget_str(c->o->json, "spec.action", "Warn"), "MigrateAway");
    for (size_t i = 0; i < c->n; i++) {
        char *key = arena_printf(&p->a, "%s %s", c->o->name, c->hosts[i].o->name);
        const struct ctl_time *t = map_get(&p->c->alone, key);

        c->facts[i].alone_ms = t == NULL ? 0 : t->ms;
        c->facts[i].leaving = leaves(c->hosts[i].o);
    }
    next = reach_decide(c->facts, c->n, c->move, settle, p->now_ms);
    pass_recheck(p, next);
    for (size_t i = 0; i < c->n; i++) {
        char *key = arena_printf(&p->a, "%s %s", c->o->name, c->hosts[i].o->name);
        struct ctl_time *t = map_get(&p->c->alone, key);

        if (c->facts[i].alone_ms == 0) {
            free(map_del(&p->c->alone, key));
        } else if (t == NULL) {
            t = OBJ_NEW(struct ctl_time);
            t->ms = c->facts[i].alone_ms;
            (void)map_put(&p->c->alone, key, t);
        }
    }
}

/* --- hosts -------------------------------------------------------------------------------------
 */

struct host_word {
    enum reach_verdict worst;
    const char *check, *message;
    bool any;
};

static int weight(enum reach_verdict v)
{
    static const int weights[] = { [REACH_FINE] = 0,  [REACH_BLIND] = 1,      [REACH_WARN] = 2,
                                   [REACH_WAITS] = 4, [REACH_EVERYWHERE] = 3, [REACH_LEAVE] = 5 };

    return weights[v];
}

static void host_hear(struct host_word *w, const struct netcheck *c, size_t i)
{
    enum reach_verdict v = c->facts[i].verdict;

    if (!w->any || weight(v) > weight(w->worst)) {
        w->worst = v;
        w->check = c->o->name;
        w->message = jget_str(c->hosts[i].report, "message", "");
    }
    w->any = true;
}

static void condition(struct pass *p, const struct host_word *w, json_t *next)
{
    const char *status = "False", *reason = "MigrateAway", *more = "; guests leave this host";

    switch (w->worst) {
    case REACH_FINE:
        (void)cond_set(next, COND, "True", "Reachable", "", p->wall_ms);
        return;
    case REACH_BLIND:
        status = "Unknown";
        reason = "NotAsked";
        more = "";
        break;
    case REACH_WARN:
        reason = "NoAnswer";
        more = "; the check only warns (spec.action)";
        break;
    case REACH_WAITS:
        reason = "NoAnswer";
        more = "; guests leave this host if the others go on reaching it";
        break;
    case REACH_EVERYWHERE:
        reason = "FailsEverywhere";
        more = "; no host passes this check, so nothing moves";
        break;
    case REACH_LEAVE:
        break;
    }
    (void)cond_set(
        next, COND, status, reason,
        arena_printf(&p->a, "NetworkCheck %s: %s%s", w->check,
                     *w->message == 0 ? "this host has not said anything yet" : w->message, more),
        p->wall_ms);
}

void ctl_netcheck_pass(struct pass *p)
{
    const struct kind *k = kind_by_plural("networkchecks");
    const struct ctl_obj *o;
    size_t n = 0;

    for (size_t pos = 0; ctl_next(p->c, k, &pos) != NULL;) {
        n++;
    }
    p->checks = ARENA_ARRAY(&p->a, struct netcheck, n + 1);
    for (size_t pos = 0; (o = ctl_next(p->c, k, &pos)) != NULL;) {
        struct netcheck *c = &p->checks[p->n_checks];

        if (!jget_bool(o->json, "spec.paused", false)) {
            *c = (struct netcheck){ .o = o };
            check_hosts(p, c);
            check_decide(p, c);
            p->n_checks++;
        }
    }
}

void ctl_netcheck_host(struct pass *p, const struct ctl_obj *host, json_t *next)
{
    struct host_word w = { 0 };

    for (size_t i = 0; i < p->n_checks; i++) {
        const struct netcheck *c = &p->checks[i];

        for (size_t k = 0; k < c->n; k++) {
            if (c->hosts[k].o == host) {
                host_hear(&w, c, k);
            }
        }
    }
    if (!w.any) {
        cond_drop(next, COND);
    } else if (pass_host_ready(p, host->name)) {
        condition(p, &w, next);
    } else {
        (void)cond_set(next, COND, "Unknown", "HostNotReady", "", p->wall_ms);
    }
}

/* --- the check ---------------------------------------------------------------------------------
 */

static json_t *host_part(const json_t *report)
{
    return json_pack("{s:s, s:I, s:s, s:s}", "state", jget_str(report, "status.state", "Unknown"),
                     "reachable", (json_int_t)jget_int(report, "status.reachable", 0), "since",
                     jget_str(report, "status.since", ""), "message",
                     jget_str(report, "message", ""));
}

static const char *list_add(struct arena *a, const char *list, const char *name)
{
    return *list == 0 ? arena_strdup(a, name) : arena_printf(a, "%s, %s", list, name);
}

static void ready(struct pass *p, const struct ctl_obj *o, const char *failing, size_t passing,
                  json_t *next)
{
    const char *on = arena_printf(&p->a, "on %zu host%s", passing, passing == 1 ? "" : "s");

    if (jget_bool(o->json, "spec.paused", false)) {
        (void)cond_set(next, "Ready", "Unknown", "Paused", "spec.paused", p->wall_ms);
    } else if (*failing != 0) {
        (void)cond_set(next, "Ready", "False",
                       passing == 0 ? "FailsEverywhere" : "FailsOnSomeHosts",
                       arena_printf(&p->a, "fails on %s; passes %s", failing, on), p->wall_ms);
    } else if (passing > 0) {
        (void)cond_set(next, "Ready", "True", "Passing", on, p->wall_ms);
    } else {
        (void)cond_set(next, "Ready", "False", "Pending", "no host has found out yet", p->wall_ms);
    }
}

void ctl_netcheck_status(struct pass *p, const struct ctl_obj *o, json_t *next)
{
    const struct kind *k = kind_by_plural("hosts");
    const struct ctl_obj *host;
    json_t *hosts = json_object();
    const char *failing = "";
    size_t passing = 0;

    for (size_t pos = 0; (host = ctl_next(p->c, k, &pos)) != NULL;) {
        const json_t *rep = report_of(p, o, host->name);
        enum reach_state st = reach_state_parse(jget_str(rep, "status.state", ""));

        if (rep != NULL) {
            (void)json_object_set_new(hosts, host->name, host_part(rep));
            passing += st == REACH_PASSING;
            failing = st == REACH_FAILING ? list_add(&p->a, failing, host->name) : failing;
        }
    }
    jset(next, "status.hosts", hosts);
    ready(p, o, failing, passing, next);
}
