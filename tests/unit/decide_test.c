/* Goldens of the fencing decision: tests/golden/decide/NAME.in holds facts as text, NAME.ok what
 * decide_format prints.  DECIDE_GOLDEN=write rewrites the .ok files (review the diff); a missing
 * one fails.
 *
 *   now 100s                               not-quorate
 *   leader n1 since 10s                    cold-start|returned 95s         lab
 *   policy startup-grace=20s window=10m max-per-window=2 max-per-host=3 min-healthy=1
 * max-in-flight=1 priority-delay=5s pause-fencing reboot watchdog-fallback history 10s 20s
 * openings, cluster-wide device pdu ApcSnmp gen=1 max=1 probe=Succeeded@95s class=None paused
 * missing host n2 inc=7 state=Live lease=99s suspect=99s asked= life= slot= links=1/2 locks=3
 * priority=10 gen=1 levels=drac;pdu-a+pdu-b terms=Hardware,3s,10s,1s,nowayout,guarded,freeze
 *        history=1s,2s released=5s fenced-by=Off maintenance rebooted conflict powered-on
 *   fencing n2 id=12 attempt=1 level=0 executor=n3 started=98s gen=1 pins=drac:1 wait=50s vetoed
 * by-user result n2 attempt=1 device=drac Unknown at=99s detail=silent candidate n1 leader voter
 * state=Live fresh unreachable probed=pdu@95s,drac@95s
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/obj.h"
#include "base/str.h"
#include "fence/decide_plan.h"
#include "fence/timing.h"

#define MAX 12

struct world {
    struct arena a;
    struct decide_facts f;
    struct decide_host hosts[MAX];
    struct decide_candidate cands[MAX];
    struct decide_device devs[MAX];
    uint32_t covers[MAX]; /* locks that a level with this device releases */
    size_t n_devs;
    const char *where;                     /* file and line, for failures */
    const struct decide_host *user_fences; /* may he?  NULL: not asked */
};

static uint64_t ms_of(struct world *w, const char *s)
{
    uint64_t ms = 0;

    if (!str_parse_duration(s, &ms)) {
        fail_msg("%s: bad duration '%s'", w->where, s);
    }
    return ms;
}

static uint64_t num_of(struct world *w, const char *s)
{
    uint64_t v = 0;

    if (!str_parse_u64(s, &v)) {
        fail_msg("%s: bad number '%s'", w->where, s);
    }
    return v;
}

/* Split in place; at most MAX parts. */
static size_t split(char *s, const char *sep, char *ret[MAX])
{
    size_t n = 0;
    char *save = NULL;

    for (char *t = strtok_r(s, sep, &save); t != NULL; t = strtok_r(NULL, sep, &save)) {
        assert_true(n < MAX);
        ret[n++] = t;
    }
    return n;
}

static uint64_t *times_of(struct world *w, char *s, size_t *ret_n)
{
    char *parts[MAX];
    uint64_t *t = ARENA_ARRAY(&w->a, uint64_t, MAX);

    *ret_n = split(s, ",", parts);
    for (size_t i = 0; i < *ret_n; i++) {
        t[i] = ms_of(w, parts[i]);
    }
    return t;
}

static struct decide_device *find_dev(struct world *w, const char *name)
{
    for (size_t i = 0; i < w->n_devs; i++) {
        if (str_eq(w->devs[i].name, name)) {
            return &w->devs[i];
        }
    }
    fail_msg("%s: no device '%s'", w->where, name);
    abort();
}

static struct decide_level *levels_of(struct world *w, char *s, size_t *ret_n)
{
    char *parts[MAX];
    struct decide_level *l = ARENA_ARRAY(&w->a, struct decide_level, MAX);

    *ret_n = split(s, ";", parts);
    for (size_t i = 0; i < *ret_n; i++) {
        struct decide_device *d = ARENA_ARRAY(&w->a, struct decide_device, MAX);
        char *names[MAX];

        l[i].n_devices = split(parts[i], "+", names);
        for (size_t k = 0; k < l[i].n_devices; k++) {
            d[k] = *find_dev(w, names[k]);
            d[k].pinned = d[k].generation;
            l[i].covers += w->covers[find_dev(w, names[k]) - w->devs];
        }
        l[i].devices = d;
    }
    return l;
}

static struct decide_host *find_host(struct world *w, const char *name)
{
    for (size_t i = 0; i < w->f.n_hosts; i++) {
        if (str_eq(w->hosts[i].name, name)) {
            return &w->hosts[i];
        }
    }
    fail_msg("%s: no host '%s'", w->where, name);
    abort();
}

static enum decide_state state_of(struct world *w, const char *s)
{
    for (int st = DECIDE_INC_NONE; st <= DECIDE_INC_FENCED; st++) {
        if (str_eq(s, decide_state_name((enum decide_state)st))) {
            return (enum decide_state)st;
        }
    }
    fail_msg("%s: bad state '%s'", w->where, s);
    return DECIDE_INC_NONE;
}

static enum fence_outcome outcome_of(struct world *w, const char *s)
{
    for (int r = FENCE_UNKNOWN; r <= FENCE_FAILED; r++) {
        if (str_eq(s, fence_outcome_name((enum fence_outcome)r))) {
            return (enum fence_outcome)r;
        }
    }
    fail_msg("%s: bad outcome '%s'", w->where, s);
    return FENCE_UNKNOWN;
}

/* "key=value" -> value, or NULL when the word is about something else. */
static char *val(char *word, const char *key)
{
    size_t n = strlen(key);

    return strncmp(word, key, n) == 0 && word[n] == '=' ? word + n + 1 : NULL;
}

static void bad_word(struct world *w, const char *word)
{
    fail_msg("%s: what is '%s'?", w->where, word);
}

static void parse_policy(struct world *w, char **words, size_t n)
{
    struct decide_policy *p = &w->f.policy;

    for (size_t i = 0; i < n; i++) {
        char *x = words[i];
        char *v;

        if ((v = val(x, "startup-grace")) != NULL) {
            p->startup_grace_ms = ms_of(w, v);
        } else if ((v = val(x, "window")) != NULL) {
            p->window_ms = ms_of(w, v);
        } else if ((v = val(x, "max-per-window")) != NULL) {
            p->max_per_window = (uint32_t)num_of(w, v);
        } else if ((v = val(x, "max-per-host")) != NULL) {
            p->max_per_host = (uint32_t)num_of(w, v);
        } else if ((v = val(x, "min-healthy")) != NULL) {
            p->min_healthy = (uint32_t)num_of(w, v);
        } else if ((v = val(x, "max-in-flight")) != NULL) {
            p->max_in_flight = (uint32_t)num_of(w, v);
        } else if ((v = val(x, "priority-delay")) != NULL) {
            p->priority_delay_ms = ms_of(w, v);
        } else if (str_eq(x, "pause-fencing")) {
            p->pause_fencing = true;
        } else if (str_eq(x, "reboot")) {
            p->reboot = true;
        } else if (str_eq(x, "watchdog-fallback")) {
            p->watchdog_fallback = true;
        } else {
            bad_word(w, x);
        }
    }
}

static void parse_device(struct world *w, char **words, size_t n)
{
    struct decide_device *d = &w->devs[w->n_devs++];

    assert_true(w->n_devs <= MAX && n >= 2);
    d->name = arena_strdup(&w->a, words[0]);
    d->type = fence_type_parse(words[1]);
    d->proof_class = fence_class_of(d->type, NULL, NULL, w->f.policy.lab);
    d->generation = 1;
    for (size_t i = 2; i < n; i++) {
        char *x = words[i];
        char *v;

        if ((v = val(x, "gen")) != NULL) {
            d->generation = num_of(w, v);
        } else if ((v = val(x, "max")) != NULL) {
            d->max_concurrent = (uint32_t)num_of(w, v);
        } else if ((v = val(x, "probe")) != NULL) {
            char *parts[MAX];

            assert_int_equal(split(v, "@", parts), 2);
            d->probe = outcome_of(w, parts[0]);
            d->probe_ms = ms_of(w, parts[1]);
        } else if ((v = val(x, "class")) != NULL) {
            d->proof_class = str_eq(v, "Power") ? FENCE_CLASS_POWER : FENCE_CLASS_NONE;
        } else if ((v = val(x, "covers")) != NULL) {
            w->covers[d - w->devs] = (uint32_t)num_of(w, v);
        } else if ((v = val(x, "extra")) != NULL) {
            d->extra_ms = ms_of(w, v);
        } else if ((v = val(x, "probing")) != NULL) {
            d->probing_ms = ms_of(w, v);
        } else if (str_eq(x, "paused")) {
            d->paused = true;
        } else if (str_eq(x, "missing")) {
            d->missing = true;
        } else {
            bad_word(w, x);
        }
    }
}

static void parse_terms(struct world *w, struct decide_terms *t, char *s)
{
    static const char *const kinds[] = { "None", "Hardware", "Xen", "Softdog", "Dev" };
    char *p[MAX];
    size_t n = split(s, ",", p);

    assert_true(n >= 4);
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (str_eq(p[0], kinds[i])) {
            t->wd = (enum decide_wd)i;
        }
    }
    t->lease_ms = ms_of(w, p[1]);
    t->watchdog_ms = ms_of(w, p[2]);
    t->feed_ms = ms_of(w, p[3]);
    for (size_t i = 4; i < n; i++) {
        if (str_eq(p[i], "nowayout")) {
            t->nowayout = true;
        } else if (str_eq(p[i], "guarded")) {
            t->guarded = true;
        } else if (str_eq(p[i], "freeze")) {
            t->freeze = true;
        } else {
            bad_word(w, p[i]);
        }
    }
}

static bool parse_host_flag(struct decide_host *h, const char *x)
{
    if (str_eq(x, "maintenance")) {
        h->maintenance = true;
    } else if (str_eq(x, "rebooted")) {
        h->rebooted = true;
    } else if (str_eq(x, "conflict")) {
        h->conflict = true;
    } else if (str_eq(x, "powered-on")) {
        h->powered_on = true;
    } else {
        return false;
    }
    return true;
}

static bool parse_host_time(struct world *w, struct decide_host *h, char *x)
{
    const struct {
        const char *key;
        uint64_t *ms;
    } times[] = {
        { "lease", &h->lease_until_ms }, { "suspect", &h->suspect_ms },
        { "asked", &h->asked_ms },       { "life", &h->life_ms },
        { "slot", &h->slot_ms },         { "released", &h->released_ms },
    };

    for (size_t i = 0; i < ARRAY_LEN(times); i++) {
        char *v = val(x, times[i].key);

        if (v != NULL) {
            *times[i].ms = ms_of(w, v);
            return true;
        }
    }
    return false;
}

static void parse_host_word(struct world *w, struct decide_host *h, char *x)
{
    char *parts[MAX];
    char *v;

    if (parse_host_flag(h, x) || parse_host_time(w, h, x)) {
        return;
    }
    if ((v = val(x, "inc")) != NULL) {
        h->incarnation = num_of(w, v);
    } else if ((v = val(x, "gen")) != NULL) {
        h->generation = num_of(w, v);
    } else if ((v = val(x, "state")) != NULL) {
        h->state = state_of(w, v);
    } else if ((v = val(x, "links")) != NULL) {
        assert_int_equal(split(v, "/", parts), 2);
        h->links_up = (uint32_t)num_of(w, parts[0]);
        h->links = (uint32_t)num_of(w, parts[1]);
    } else if ((v = val(x, "locks")) != NULL) {
        h->n_locks = (uint32_t)num_of(w, v);
    } else if ((v = val(x, "priority")) != NULL) {
        h->priority = (int64_t)num_of(w, v);
    } else if ((v = val(x, "levels")) != NULL) {
        h->levels = levels_of(w, v, &h->n_levels);
    } else if ((v = val(x, "terms")) != NULL) {
        parse_terms(w, &h->terms, v);
    } else if ((v = val(x, "history")) != NULL) {
        h->history_ms = times_of(w, v, &h->n_history);
    } else if ((v = val(x, "fenced-by")) != NULL) {
        h->fenced_by = str_eq(v, "Off") ? DECIDE_PROOF_OFF : DECIDE_PROOF_CONFIRMATION;
    } else {
        bad_word(w, x);
    }
}

static void parse_host(struct world *w, char **words, size_t n)
{
    struct decide_host *h = &w->hosts[w->f.n_hosts++];

    assert_true(w->f.n_hosts <= MAX);
    h->name = arena_strdup(&w->a, words[0]);
    h->generation = 1;
    h->incarnation = w->f.n_hosts;
    h->state = DECIDE_INC_LIVE;
    h->links = 2;
    h->links_up = 2;
    h->terms.lease_ms = 3000;
    for (size_t i = 1; i < n; i++) {
        parse_host_word(w, h, words[i]);
    }
}

static void parse_pins(struct world *w, struct decide_fencing *fc, char *s)
{
    char *parts[MAX];
    size_t n = split(s, ",", parts);

    for (size_t i = 0; i < n; i++) {
        char *pin[MAX];

        assert_int_equal(split(parts[i], ":", pin), 2);
        for (size_t l = 0; l < fc->n_levels; l++) {
            for (size_t k = 0; k < fc->levels[l].n_devices; k++) {
                struct decide_device *d =
                    (struct decide_device *)(uintptr_t)&fc->levels[l].devices[k];

                if (str_eq(d->name, pin[0])) {
                    d->pinned = num_of(w, pin[1]);
                }
            }
        }
    }
}

static void parse_fencing(struct world *w, char **words, size_t n)
{
    struct decide_host *h = find_host(w, words[0]);
    struct decide_fencing *fc = ARENA_NEW(&w->a, struct decide_fencing);
    char *pins = NULL;

    h->fencing = fc;
    h->state = DECIDE_INC_FENCING;
    fc->host_generation = 1;
    fc->levels = h->levels;
    fc->n_levels = h->n_levels;
    fc->results = ARENA_ARRAY(&w->a, struct decide_result, MAX);
    for (size_t i = 1; i < n; i++) {
        char *x = words[i];
        char *v;

        if ((v = val(x, "id")) != NULL) {
            fc->id = num_of(w, v);
        } else if ((v = val(x, "attempt")) != NULL) {
            fc->attempt = num_of(w, v);
        } else if ((v = val(x, "level")) != NULL) {
            fc->level = (uint32_t)num_of(w, v);
        } else if ((v = val(x, "executor")) != NULL) {
            fc->executor = arena_strdup(&w->a, v);
        } else if ((v = val(x, "started")) != NULL) {
            fc->started_ms = ms_of(w, v);
        } else if ((v = val(x, "wait")) != NULL) {
            fc->wait_started_ms = ms_of(w, v);
        } else if ((v = val(x, "gen")) != NULL) {
            fc->host_generation = num_of(w, v);
        } else if ((v = val(x, "pins")) != NULL) {
            pins = v;
        } else if (str_eq(x, "vetoed")) {
            fc->vetoed = true;
            fc->veto_reason = "it was vetoed";
        } else if (str_eq(x, "by-user")) {
            fc->by_user = true;
        } else {
            bad_word(w, x);
        }
    }
    if (pins != NULL) {
        parse_pins(w, fc, pins);
    }
}

static void parse_result(struct world *w, char **words, size_t n)
{
    struct decide_host *h = find_host(w, words[0]);
    struct decide_fencing *fc = (struct decide_fencing *)(uintptr_t)h->fencing;
    struct decide_result *res;

    assert_non_null(fc);
    assert_true(fc->n_results < MAX);
    res = (struct decide_result *)(uintptr_t)&fc->results[fc->n_results++];
    for (size_t i = 1; i < n; i++) {
        char *x = words[i];
        char *v;

        if ((v = val(x, "attempt")) != NULL) {
            res->attempt = num_of(w, v);
        } else if ((v = val(x, "device")) != NULL) {
            res->device = arena_strdup(&w->a, v);
        } else if ((v = val(x, "at")) != NULL) {
            res->at_ms = ms_of(w, v);
        } else if ((v = val(x, "detail")) != NULL) {
            res->detail = arena_strdup(&w->a, v);
        } else {
            res->result = outcome_of(w, x);
        }
    }
}

static void parse_probed(struct world *w, struct decide_candidate *k, char *s)
{
    char *parts[MAX];
    const char **names = ARENA_ARRAY(&w->a, const char *, MAX);
    uint64_t *times = ARENA_ARRAY(&w->a, uint64_t, MAX);

    k->n_probed = split(s, ",", parts);
    for (size_t i = 0; i < k->n_probed; i++) {
        char *at[MAX];

        assert_int_equal(split(parts[i], "@", at), 2);
        names[i] = arena_strdup(&w->a, at[0]);
        times[i] = ms_of(w, at[1]);
    }
    k->probed_devices = names;
    k->probed_ms = times;
}

static void parse_candidate(struct world *w, char **words, size_t n)
{
    struct decide_candidate *k = &w->cands[w->f.n_candidates++];

    assert_true(w->f.n_candidates <= MAX);
    k->name = arena_strdup(&w->a, words[0]);
    k->leader = str_eq(k->name, w->f.self);
    k->reachable = true;
    k->voter = true;
    for (size_t i = 0; i < w->f.n_hosts; i++) {
        if (str_eq(w->hosts[i].name, k->name)) {
            k->state = w->hosts[i].state;
        }
    }
    for (size_t i = 1; i < n; i++) {
        char *x = words[i];
        char *v;

        if ((v = val(x, "state")) != NULL) {
            k->state = state_of(w, v);
        } else if ((v = val(x, "probed")) != NULL) {
            parse_probed(w, k, v);
        } else if ((v = val(x, "silent")) != NULL) {
            k->reachable = false;
            k->silent_ms = ms_of(w, v);
        } else if (str_eq(x, "fresh")) {
            k->fresh = true;
        } else if (str_eq(x, "unreachable")) {
            k->reachable = false;
        } else if (str_eq(x, "no-voter")) {
            k->voter = false;
        } else {
            bad_word(w, x);
        }
    }
}

static void parse_line(struct world *w, char *line)
{
    char *words[MAX * 2];
    size_t n = 0;
    char *save = NULL;

    for (char *t = strtok_r(line, " ", &save); t != NULL; t = strtok_r(NULL, " ", &save)) {
        assert_true(n < ARRAY_LEN(words));
        words[n++] = t;
    }
    if (n == 0 || words[0][0] == '#') {
        return;
    }
    if (str_eq(words[0], "now")) {
        w->f.now_ms = ms_of(w, words[1]);
    } else if (str_eq(words[0], "not-quorate")) {
        w->f.quorate = false;
    } else if (str_eq(words[0], "lab")) {
        w->f.policy.lab = true;
    } else if (str_eq(words[0], "leader")) {
        assert_int_equal(n, 4);
        w->f.self = arena_strdup(&w->a, words[1]);
        w->f.leader_since_ms = ms_of(w, words[3]);
    } else if (str_eq(words[0], "cold-start")) {
        w->f.grace_ms = ms_of(w, words[1]);
    } else if (str_eq(words[0], "returned")) {
        w->f.grace_ms = ms_of(w, words[1]);
        w->f.returned = true;
    } else if (str_eq(words[0], "policy")) {
        parse_policy(w, words + 1, n - 1);
    } else if (str_eq(words[0], "history")) {
        w->f.history_ms = times_of(w, words[1], &w->f.n_history);
    } else if (str_eq(words[0], "device")) {
        parse_device(w, words + 1, n - 1);
    } else if (str_eq(words[0], "host")) {
        parse_host(w, words + 1, n - 1);
    } else if (str_eq(words[0], "fencing")) {
        parse_fencing(w, words + 1, n - 1);
    } else if (str_eq(words[0], "result")) {
        parse_result(w, words + 1, n - 1);
    } else if (str_eq(words[0], "candidate")) {
        parse_candidate(w, words + 1, n - 1);
    } else if (str_eq(words[0], "user-fences")) {
        w->user_fences = find_host(w, words[1]);
    } else {
        bad_word(w, words[0]);
    }
}

static void world_init(struct world *w)
{
    struct timing_in in = { 0 };
    struct timing t;
    struct err err;

    memset(w, 0, sizeof(*w));
    assert_int_equal(timing_derive(&in, &t, &err), 0);
    w->f = (struct decide_facts){
        .quorate = true,
        .heartbeat_ms = t.heartbeat_ms,
        .lease_ms = t.lease_ms,
        .drift_ms = t.drift_ms,
        .attempt_timeout_ms = t.attempt_timeout_ms,
        .backoff_ms = t.backoff_ms,
        .backoff_max_ms = t.backoff_max_ms,
        .probe_max_age_ms = 3 * t.probe_ms,
        .life_fresh_ms = 2 * t.heartbeat_ms,
        .slot_stale_ms = t.lease_ms,
        .policy = { .window_ms = 600000, .startup_grace_ms = t.startup_grace_ms },
        .hosts = w->hosts,
        .candidates = w->cands,
    };
}

static char *read_file(const char *path)
{
    FILE *f = fopen(path, "r");
    char *text;
    size_t n;

    if (f == NULL) {
        return NULL;
    }
    text = calloc(1, 65536);
    assert_non_null(text);
    n = fread(text, 1, 65535, f);
    assert_true(n < 65535);
    (void)fclose(f);
    return text;
}

static void run_facts(const char *path, char *text, struct buf *out)
{
    struct world *w = calloc(1, sizeof(*w));
    struct decide_plan plan;
    struct buf again = { 0 };
    unsigned line_no = 0;

    assert_non_null(w);
    world_init(w);
    for (char *line = text; line != NULL;) {
        char *nl = strchr(line, '\n');

        if (nl != NULL) {
            *nl = '\0';
        }
        line_no++;
        w->where = arena_printf(&w->a, "%s:%u", path, line_no);
        parse_line(w, line);
        line = nl != NULL ? nl + 1 : NULL;
    }
    decide_plan(&w->f, &w->a, &plan);
    decide_format(&plan, out);
    decide_plan(&w->f, &w->a, &plan);
    decide_format(&plan, &again);
    assert_string_equal(buf_cstr(out), buf_cstr(&again)); /* pure */
    if (w->user_fences != NULL) {
        const char *why = decide_user_refusal(&w->f, w->user_fences, &w->a);

        buf_printf(out, "user-fences %s: %s\n", w->user_fences->name, why == NULL ? "yes" : why);
    }
    buf_done(&again);
    arena_done(&w->a);
    free(w);
}

#define GOLDEN "tests/golden/decide"

static int is_input(const struct dirent *e)
{
    return str_ends(e->d_name, ".in") ? 1 : 0;
}

static bool check_golden(const char *name)
{
    char in_path[512], ok_path[512];
    struct buf out = { 0 };
    char *in, *ok;
    bool same;

    (void)snprintf(in_path, sizeof(in_path), "%s/%s", GOLDEN, name);
    (void)snprintf(ok_path, sizeof(ok_path), "%s/%.*s.ok", GOLDEN, (int)strlen(name) - 3, name);
    in = read_file(in_path);
    assert_non_null(in);
    run_facts(in_path, in, &out);
    if (str_eq(getenv("DECIDE_GOLDEN"), "write")) {
        FILE *f = fopen(ok_path, "w");

        assert_non_null(f);
        assert_true(fputs(buf_cstr(&out), f) >= 0);
        assert_int_equal(fclose(f), 0);
    }
    ok = read_file(ok_path);
    same = ok != NULL && strcmp(ok, buf_cstr(&out)) == 0;
    if (!same) {
        print_error("%s: expected\n%s--- got\n%s\n", ok_path, ok != NULL ? ok : "(no such file)\n",
                    buf_cstr(&out));
    }
    free(in);
    free(ok);
    buf_done(&out);
    return same;
}

static void goldens(void **state)
{
    struct dirent **names = NULL;
    int n = scandir(GOLDEN, &names, is_input, alphasort);
    int bad = 0;

    (void)state;
    assert_true(n >= 40);
    for (int i = 0; i < n; i++) {
        bad += check_golden(names[i]->d_name) ? 0 : 1;
        free(names[i]);
    }
    free(names);
    assert_int_equal(bad, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(goldens) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
