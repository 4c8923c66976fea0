/* The simulator for scenarios: owns one world, takes one request a line on stdin, answers one line.
 *
 *   ["run", 500]           ->  {"now": 12500, "log": ["..."], "value": null}
 *   ["cut", "nodeX", ...]  ->  {"error": "no machine \"nodeX\""}
 */

#include <stdlib.h>
#include <string.h>

#include "base/obj.h"
#include "tests/sim/sim.h"

struct shell {
    struct sim *sim;
    json_t *lines;
    char error[512];
};

static void on_line(void *ctx, uint64_t ms, const char *line)
{
    struct shell *sh = ctx;

    (void)json_array_append_new(sh->lines, json_sprintf("%8.3f  %s", (double)ms / 1000.0, line));
}

/* --- arguments ---------------------------------------------------------------------------------
 */

static const char *arg_text(struct shell *sh, const json_t *a, size_t i)
{
    const char *s = json_string_value(json_array_get(a, i));

    if (s == NULL && sh->error[0] == 0) {
        (void)snprintf(sh->error, sizeof(sh->error), "argument %zu must be a text", i);
    }
    return s == NULL ? "" : s;
}

static uint64_t arg_num(const json_t *a, size_t i)
{
    return (uint64_t)json_integer_value(json_array_get(a, i));
}

static bool arg_bool(const json_t *a, size_t i)
{
    return json_is_true(json_array_get(a, i));
}

static const char *arg_machine(struct shell *sh, const json_t *a, size_t i)
{
    const char *s = arg_text(sh, a, i);

    if (sh->error[0] == 0 && !sim_machine_exists(sh->sim, s)) {
        (void)snprintf(sh->error, sizeof(sh->error), "no machine \"%s\"", s);
    }
    return s;
}

/* --- the world ---------------------------------------------------------------------------------
 */

static enum sim_fencing fencing_of(const char *s)
{
    static const char *const names[] = {
        "pdu", "bmc", "bmc-pdu", "watchdog", "pdu-watchdog", "none"
    };

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(s, names[i]) == 0) {
            return (enum sim_fencing)i;
        }
    }
    return SIM_FENCE_NONE;
}

static json_t *op_new(struct shell *sh, const json_t *a)
{
    const json_t *o = json_array_get(a, 1);
    struct sim_opts opts = {
        .seed = (uint64_t)json_integer_value(json_object_get(o, "seed")),
        .hosts = (unsigned)json_integer_value(json_object_get(o, "hosts")),
        .links = (unsigned)json_integer_value(json_object_get(o, "links")),
        .heartbeat_ms = (unsigned)json_integer_value(json_object_get(o, "heartbeat")),
        .host_timeout_ms = (unsigned)json_integer_value(json_object_get(o, "timeout")),
        .witness = json_is_true(json_object_get(o, "witness")),
        .watchdog = json_is_true(json_object_get(o, "watchdog")),
        .freeze = json_is_true(json_object_get(o, "freeze")),
        .debug = getenv("SCENARIO_DEBUG") != NULL,
    };

    opts.fencing = fencing_of(json_string_value(json_object_get(o, "fencing")));
    sh->sim = sim_new(&opts);
    sim_on_line(sh->sim, on_line, sh);
    return NULL;
}

static json_t *op_run(struct shell *sh, const json_t *a)
{
    sim_run(sh->sim, arg_num(a, 1));
    return NULL;
}

static json_t *op_violation(struct shell *sh, const json_t *a)
{
    const char *v = sim_violation(sh->sim);

    (void)a;
    return v == NULL ? NULL : json_string(v);
}

/* --- the user ----------------------------------------------------------------------------------
 */

static json_t *op_apply(struct shell *sh, const json_t *a)
{
    struct err err;

    if (sim_apply(sh->sim, arg_text(sh, a, 1), arg_num(a, 2), &err) != 0) {
        return json_string(err.msg);
    }
    return json_true();
}

/* By somebody, or under an id: {"role", "name", "id"} as the last argument. */
static int request_by(struct shell *sh, const json_t *a, const json_t *body, json_t **ret,
                      struct err *err)
{
    const json_t *by = json_array_get(a, 6);
    struct sim_caller caller = { .role = json_string_value(json_object_get(by, "role")),
                                 .name = json_string_value(json_object_get(by, "name")),
                                 .id = json_string_value(json_object_get(by, "id")) };

    if (!json_is_object(by)) {
        return sim_request_as(sh->sim, arg_text(sh, a, 1), arg_text(sh, a, 2), arg_text(sh, a, 3),
                              body, arg_num(a, 5), ret, err);
    }
    return sim_request_by(sh->sim, &caller, arg_text(sh, a, 1), arg_text(sh, a, 2), body,
                          arg_num(a, 5), ret, err);
}

static json_t *op_request(struct shell *sh, const json_t *a)
{
    const json_t *body = json_array_get(a, 4);
    json_t *ret = NULL;
    struct err err;

    if (request_by(sh, a, json_is_null(body) ? NULL : body, &ret, &err) != 0) {
        bool unsure = err.code == ERR_UNREACHABLE || err.code == ERR_TIMEOUT ||
                      err.code == ERR_UNKNOWN_OUTCOME;

        return json_pack("{s:i, s:s, s:b}", "code", err.code == ERR_NOT_FOUND ? 404 : 409, "text",
                         err.msg, "unsure", unsure);
    }
    return json_pack("{s:i, s:o}", "code", 200, "body", ret == NULL ? json_null() : ret);
}

/* --- machines ----------------------------------------------------------------------------------
 */

static enum sim_proc proc_of(struct shell *sh, const char *s)
{
    if (strcmp(s, "picketd") == 0) {
        return SIM_PICKETD;
    }
    if (strcmp(s, "agent") == 0) {
        return SIM_AGENT;
    }
    if (strcmp(s, "watchdog") != 0 && sh->error[0] == 0) {
        (void)snprintf(sh->error, sizeof(sh->error), "no process \"%s\"", s);
    }
    return SIM_WATCHDOG;
}

static json_t *op_power(struct shell *sh, const json_t *a)
{
    const char *m = arg_machine(sh, a, 1);

    if (sh->error[0] != 0) {
        return NULL;
    }
    if (arg_bool(a, 2)) {
        sim_power_on(sh->sim, m);
    } else {
        sim_power_off(sh->sim, m);
    }
    return NULL;
}

static json_t *op_reset(struct shell *sh, const json_t *a)
{
    const char *m = arg_machine(sh, a, 1);

    if (sh->error[0] == 0) {
        sim_reset(sh->sim, m);
    }
    return NULL;
}

static json_t *op_suspend(struct shell *sh, const json_t *a)
{
    const char *m = arg_machine(sh, a, 1);

    if (sh->error[0] != 0) {
        return NULL;
    }
    if (arg_bool(a, 2)) {
        sim_suspend(sh->sim, m);
    } else {
        sim_resume(sh->sim, m);
    }
    return NULL;
}

static json_t *op_kill(struct shell *sh, const json_t *a)
{
    const char *m = arg_machine(sh, a, 1);
    enum sim_proc p = proc_of(sh, arg_text(sh, a, 2));

    if (sh->error[0] == 0) {
        sim_kill(sh->sim, m, p, arg_bool(a, 3));
    }
    return NULL;
}

static json_t *op_start(struct shell *sh, const json_t *a)
{
    const char *m = arg_machine(sh, a, 1);
    enum sim_proc p = proc_of(sh, arg_text(sh, a, 2));

    if (sh->error[0] == 0) {
        sim_start(sh->sim, m, p);
    }
    return NULL;
}

static json_t *op_pause(struct shell *sh, const json_t *a)
{
    const char *m = arg_machine(sh, a, 1);
    enum sim_proc p = proc_of(sh, arg_text(sh, a, 2));

    if (sh->error[0] != 0) {
        return NULL;
    }
    if (arg_bool(a, 3)) {
        sim_pause(sh->sim, m, p);
    } else {
        sim_unpause(sh->sim, m, p);
    }
    return NULL;
}

static json_t *op_clock(struct shell *sh, const json_t *a)
{
    const char *m = arg_machine(sh, a, 1);

    if (sh->error[0] == 0) {
        sim_wall_step(sh->sim, m, json_integer_value(json_array_get(a, 2)));
    }
    return NULL;
}

static json_t *op_disk(struct shell *sh, const json_t *a)
{
    const char *m = arg_machine(sh, a, 1);
    const char *how = arg_text(sh, a, 2);

    if (sh->error[0] == 0) {
        sim_disk_full(sh->sim, m, strcmp(how, "full") == 0);
        sim_disk_slow(sh->sim, m, strcmp(how, "slow") == 0 ? (unsigned)arg_num(a, 3) : 0);
    }
    return NULL;
}

/* --- network and devices -----------------------------------------------------------------------
 */

static json_t *op_isolate(struct shell *sh, const json_t *a)
{
    const char *m = arg_machine(sh, a, 1);

    if (sh->error[0] == 0) {
        sim_isolate(sh->sim, m, arg_bool(a, 2));
    }
    return NULL;
}

/* host, other or null, link or -1, "in" | "out" | "", on */
static json_t *op_cut(struct shell *sh, const json_t *a)
{
    const char *m = arg_machine(sh, a, 1);
    const char *other = json_string_value(json_array_get(a, 2));
    int link = (int)json_integer_value(json_array_get(a, 3));
    const char *way = arg_text(sh, a, 4);

    if (sh->error[0] != 0) {
        return NULL;
    }
    if (strcmp(way, "in") != 0) {
        sim_cut(sh->sim, m, other, link, arg_bool(a, 5));
    }
    if (strcmp(way, "out") != 0) {
        sim_cut(sh->sim, other, m, link, arg_bool(a, 5));
    }
    return NULL;
}

static json_t *op_heal(struct shell *sh, const json_t *a)
{
    (void)a;
    sim_heal(sh->sim);
    return NULL;
}

static bool is_device(const char *s)
{
    size_t n = strlen(s);

    return strcmp(s, "pdu") == 0 || (n > 4 && strcmp(s + n - 4, "-bmc") == 0);
}

static json_t *op_is_device(struct shell *sh, const json_t *a)
{
    return json_boolean(is_device(arg_text(sh, a, 1)));
}

static json_t *op_device_cut(struct shell *sh, const json_t *a)
{
    const char *m = arg_machine(sh, a, 1);

    if (sh->error[0] == 0) {
        sim_device_cut(sh->sim, m, arg_text(sh, a, 2), arg_bool(a, 3));
    }
    return NULL;
}

static json_t *op_gateway_cut(struct shell *sh, const json_t *a)
{
    const char *m = arg_machine(sh, a, 1);

    if (sh->error[0] == 0) {
        sim_gateway_cut(sh->sim, m, arg_bool(a, 2));
    }
    return NULL;
}

static json_t *op_device(struct shell *sh, const json_t *a)
{
    static const struct {
        const char *word;
        enum sim_device mode;
    } modes[] = { { "ok", SIM_DEV_OK },           { "silent", SIM_DEV_SILENT },
                  { "refuses", SIM_DEV_REFUSES }, { "late", SIM_DEV_LATE },
                  { "deaf", SIM_DEV_DEAF },       { "lost-answer", SIM_DEV_LOST_ANSWER },
                  { "lies", SIM_DEV_LIES },       { "wrong-outlet", SIM_DEV_WRONG } };
    const char *word = arg_text(sh, a, 2);

    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        if (strcmp(modes[i].word, word) == 0) {
            if (!sim_device_mode(sh->sim, arg_text(sh, a, 1), modes[i].mode)) {
                (void)snprintf(sh->error, sizeof(sh->error), "no device \"%s\"",
                               arg_text(sh, a, 1));
            }
            return NULL;
        }
    }
    (void)snprintf(sh->error, sizeof(sh->error),
                   "a device cannot be \"%s\": ok silent refuses late deaf lost-answer lies "
                   "wrong-outlet, slow TIME",
                   word);
    return NULL;
}

static json_t *op_device_latency(struct shell *sh, const json_t *a)
{
    sim_device_latency(sh->sim, arg_text(sh, a, 1), (unsigned)arg_num(a, 2));
    return NULL;
}

/* --- guests and storage ------------------------------------------------------------------------
 */

static json_t *op_guest(struct shell *sh, const json_t *a)
{
    const char *vm = arg_text(sh, a, 1);
    const char *what = arg_text(sh, a, 2);

    if (strcmp(what, "stubborn") == 0) {
        sim_guest_stubborn(sh->sim, vm, true);
        return json_true();
    }
    if (strcmp(what, "poweroff") == 0) {
        return json_boolean(sim_guest(sh->sim, vm, SIM_VM_POWEROFF));
    }
    if (strcmp(what, "reboot") == 0) {
        return json_boolean(sim_guest(sh->sim, vm, SIM_VM_REBOOT));
    }
    if (strcmp(what, "crash") != 0) {
        (void)snprintf(sh->error, sizeof(sh->error),
                       "a guest cannot \"%s\": poweroff reboot crash stubborn", what);
    }
    return json_boolean(sim_guest(sh->sim, vm, SIM_VM_CRASH));
}

static json_t *op_volume_cut(struct shell *sh, const json_t *a)
{
    const char *m = arg_machine(sh, a, 1);

    if (sh->error[0] == 0) {
        sim_volume_cut(sh->sim, m, json_string_value(json_array_get(a, 2)), arg_bool(a, 3));
    }
    return NULL;
}

static json_t *op_job(struct shell *sh, const json_t *a)
{
    static const char *const faults[] = { "fails", "unknown-done", "unknown-not", "hangs" };
    const char *m = arg_machine(sh, a, 1);
    const char *how = arg_text(sh, a, 3);

    for (size_t i = 0; sh->error[0] == 0 && i < ARRAY_LEN(faults); i++) {
        if (strcmp(faults[i], how) == 0) {
            sim_job_fault(sh->sim, m, arg_text(sh, a, 2), (enum sim_job_fault)i,
                          (unsigned)arg_num(a, 4));
            return NULL;
        }
    }
    (void)snprintf(sh->error, sizeof(sh->error),
                   "a job cannot end as \"%s\": fails unknown-done unknown-not hangs", how);
    return NULL;
}

/* --- looking -----------------------------------------------------------------------------------
 */

static json_t *op_vm_on(struct shell *sh, const json_t *a)
{
    return json_string(sim_vm_on(sh->sim, arg_text(sh, a, 1)));
}

static json_t *op_leader(struct shell *sh, const json_t *a)
{
    (void)a;
    return json_string(sim_leader(sh->sim));
}

static json_t *op_inc_state(struct shell *sh, const json_t *a)
{
    const char *m = arg_machine(sh, a, 1);

    return sh->error[0] != 0 ? NULL : json_string(sim_inc_state(sh->sim, m));
}

static json_t *op_is_on(struct shell *sh, const json_t *a)
{
    const char *m = arg_machine(sh, a, 1);

    return sh->error[0] != 0 ? NULL : json_boolean(sim_is_on(sh->sim, m));
}

static json_t *op_stats(struct shell *sh, const json_t *a)
{
    struct sim_stats st;

    (void)a;
    sim_stats(sh->sim, &st);
    return json_pack("{s:I, s:I, s:I, s:I, s:I}", "asked_twice", (json_int_t)st.asked_twice,
                     "power_offs", (json_int_t)st.power_offs, "wd_resets", (json_int_t)st.wd_resets,
                     "fencings", (json_int_t)st.fencings, "starts", (json_int_t)st.starts);
}

/* --- the loop ----------------------------------------------------------------------------------
 */

static const struct shell_op {
    const char *name;
    json_t *(*fn)(struct shell *sh, const json_t *a);
} ops[] = {
    { "new", op_new },
    { "run", op_run },
    { "violation", op_violation },
    { "apply", op_apply },
    { "request", op_request },
    { "power", op_power },
    { "reset", op_reset },
    { "suspend", op_suspend },
    { "kill", op_kill },
    { "start", op_start },
    { "pause", op_pause },
    { "clock", op_clock },
    { "disk", op_disk },
    { "isolate", op_isolate },
    { "cut", op_cut },
    { "heal", op_heal },
    { "is-device", op_is_device },
    { "device-cut", op_device_cut },
    { "gateway-cut", op_gateway_cut },
    { "device", op_device },
    { "device-latency", op_device_latency },
    { "guest", op_guest },
    { "volume-cut", op_volume_cut },
    { "job", op_job },
    { "vm-on", op_vm_on },
    { "leader", op_leader },
    { "inc-state", op_inc_state },
    { "is-on", op_is_on },
    { "stats", op_stats },
};

static json_t *run_op(struct shell *sh, const json_t *a)
{
    const char *name = arg_text(sh, a, 0);

    for (size_t i = 0; sh->error[0] == 0 && i < ARRAY_LEN(ops); i++) {
        if (strcmp(ops[i].name, name) == 0) {
            if (sh->sim == NULL && ops[i].fn != op_new) {
                break;
            }
            return ops[i].fn(sh, a);
        }
    }
    if (sh->error[0] == 0) {
        (void)snprintf(sh->error, sizeof(sh->error), "no operation \"%s\" (or no world yet)", name);
    }
    return NULL;
}

static void answer(struct shell *sh, const char *line)
{
    json_t *a = json_loads(line, 0, NULL);
    json_t *value, *reply;

    sh->error[0] = 0;
    value = run_op(sh, a);
    if (sh->error[0] != 0) {
        reply = json_pack("{s:s}", "error", sh->error);
        json_decref(value);
    } else {
        reply = json_pack("{s:I, s:o, s:o}", "now",
                          (json_int_t)(sh->sim == NULL ? 0 : sim_time(sh->sim)), "log", sh->lines,
                          "value", value == NULL ? json_null() : value);
        sh->lines = json_array();
    }
    CHECK(reply != NULL && json_dumpf(reply, stdout, JSON_COMPACT) == 0);
    (void)putchar('\n');
    (void)fflush(stdout);
    json_decref(reply);
    json_decref(a);
}

int main(void)
{
    struct shell sh = { .lines = json_array() };
    char *line = NULL;
    size_t cap = 0;

    while (getline(&line, &cap, stdin) > 0) {
        answer(&sh, line);
    }
    free(line);
    if (sh.sim != NULL) {
        sim_free(sh.sim);
    }
    json_decref(sh.lines);
    return 0;
}
