#include "net/reach_sm.h"

#include <string.h>

#include "base/obj.h"
#include "base/str.h"

const char *reach_state_name(enum reach_state s)
{
    switch (s) {
    case REACH_UNKNOWN:
        return "Unknown";
    case REACH_PASSING:
        return "Passing";
    case REACH_FAILING:
        return "Failing";
    }
    CHECK_UNREACHABLE();
}

enum reach_state reach_state_parse(const char *s)
{
    return str_eq(s, "Passing")   ? REACH_PASSING
           : str_eq(s, "Failing") ? REACH_FAILING
                                  : REACH_UNKNOWN;
}

static unsigned one_more(unsigned n)
{
    return n < 1000000U ? n + 1 : n;
}

static bool count(struct reach_count *c, enum reach_answer a, const struct reach_rule *rule)
{
    enum reach_state was = c->state;

    c->passed = a == REACH_ANSWERED ? one_more(c->passed) : a == REACH_SILENT ? 0 : c->passed;
    c->failed = a == REACH_SILENT ? one_more(c->failed) : a == REACH_ANSWERED ? 0 : c->failed;
    c->blind = a == REACH_NOT_ASKED ? one_more(c->blind) : 0;
    if (c->blind >= rule->failures) {
        c->state = REACH_UNKNOWN;
        c->passed = c->failed = 0;
    } else if (a == REACH_SILENT && c->failed >= rule->failures) {
        c->state = REACH_FAILING;
    } else if (a == REACH_ANSWERED && (was == REACH_UNKNOWN || c->passed >= rule->recoveries)) {
        c->state = REACH_PASSING;
    }
    return c->state != was;
}

static enum reach_answer verdict(const struct reach_rule *rule, const enum reach_answer *answers)
{
    size_t yes = 0, perhaps = 0;

    for (size_t i = 0; i < rule->n_targets; i++) {
        yes += answers[i] == REACH_ANSWERED;
        perhaps += answers[i] == REACH_NOT_ASKED;
    }
    if (yes >= rule->threshold) {
        return REACH_ANSWERED;
    }
    return yes + perhaps < rule->threshold ? REACH_SILENT : REACH_NOT_ASKED;
}

bool reach_round(struct reach *r, const struct reach_rule *rule, const enum reach_answer *answers)
{
    bool changed;

    CHECK(rule->n_targets <= REACH_TARGETS_MAX);
    CHECK(rule->failures > 0 && rule->recoveries > 0);
    changed = count(&r->all, verdict(rule, answers), rule);
    for (size_t i = 0; i < rule->n_targets; i++) {
        changed = count(&r->targets[i], answers[i], rule) || changed;
    }
    return changed;
}

void reach_restart(struct reach *r)
{
    enum reach_state said = r->all.state;

    memset(r, 0, sizeof(*r));
    r->all.state = said;
}
