/* picket retry: what was given up is tried again at once, on every host. */

#include <stdio.h>
#include <string.h>

#include "api/valid.h"
#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picket/cli.h"

struct retry_args {
    char **vms;
    size_t n;
    bool wait;
    uint64_t timeout_ms;
};

static const char *bare(const char *arg)
{
    const char *slash = strchr(arg, '/');

    return slash == NULL ? arg : slash + 1;
}

/* Why it does not run, and where it is not tried for now. */
static void say_given_up(const json_t *vm)
{
    const json_t *ready = cond_get(vm, "Ready");
    const json_t *v;
    size_t i;

    if (*jget_str(ready, "message", "") != 0) {
        cli_say("  %s: %s", jget_str(ready, "reason", "?"), jget_str(ready, "message", ""));
    }
    json_array_foreach (jget(vm, "status.avoid"), i, v) {
        cli_say("  not on %s before %s: %s: %s", jget_str(v, "host", "?"),
                jget_str(v, "until", "?"), jget_str(v, "reason", "?"), jget_str(v, "message", ""));
    }
}

/* CLI_OK; *ret_asked: it was asked for, so there is something to wait for. */
static int retry_one(struct cli *c, const char *name, bool *ret_asked)
{
    struct err err = { 0 };
    json_t *vm = NULL;
    char now[32];
    int rc = CLI_OK;

    *ret_asked = false;
    if (cli_get(c, "virtualmachines", name, &vm, &err) != 0) {
        return cli_fail(c, &err);
    }
    if (!str_eq(jget_str(vm, "spec.runPolicy", "Running"), "Running")) {
        cli_say("picket retry: %s shall not run (spec.runPolicy is %s): set that to Running", name,
                jget_str(vm, "spec.runPolicy", ""));
        rc = CLI_CONFLICT;
    } else if (str_eq(jget_str(vm, "status.phase", ""), "Running")) {
        (void)printf("virtualmachine/%s runs\n", name);
    } else {
        say_given_up(vm);
        str_format_time(clock_wall_ms(), now, sizeof(now));
        if (str_eq(jget_str(vm, "spec.retry", ""), now)) { /* twice within one second */
            (void)snprintf(now + strlen(now), sizeof(now) - strlen(now), "+");
        }
        rc = cli_merge(c, "virtualmachines", name, json_pack("{s:{s:s}}", "spec", "retry", now),
                       NULL, &err) == 0
                 ? CLI_OK
                 : cli_fail(c, &err);
        *ret_asked = rc == CLI_OK;
    }
    json_decref(vm);
    if (*ret_asked) {
        (void)printf("virtualmachine/%s is tried again\n", name);
        (void)fflush(stdout);
    }
    return rc;
}

static bool all_run(void *ctx, const json_t *items)
{
    const struct retry_args *a = ctx;
    size_t i, running = 0;
    json_t *v;

    json_array_foreach (items, i, v) {
        for (size_t k = 0; k < a->n; k++) {
            running += str_eq(obj_name(v), bare(a->vms[k])) &&
                       str_eq(jget_str(v, "status.phase", ""), "Running") &&
                       jget_int(v, "status.observedGeneration", -1) ==
                           jget_int(v, "metadata.generation", 0);
        }
    }
    return running >= a->n;
}

static int wait_running(struct cli *c, struct retry_args *a)
{
    struct cli_wait w = {
        .plural = "virtualmachines", .timeout_ms = a->timeout_ms, .done = all_run, .ctx = a
    };
    int rc = cli_wait(c, &w);

    if (rc == CLI_OK) {
        (void)printf("running\n");
    } else if (rc == CLI_TIMEOUT) {
        cli_say("picket retry: not running after the timeout; it is tried on: `picket why vm %s`",
                bare(a->vms[0]));
    }
    return rc;
}

static int retry_all(struct cli *c, struct retry_args *a)
{
    bool any = false;
    int rc = CLI_OK;

    for (size_t i = 0; i < a->n; i++) {
        bool asked;
        int one = retry_one(c, bare(a->vms[i]), &asked);

        any = any || asked;
        rc = one == CLI_OK ? rc : one;
    }
    return rc == CLI_OK && any && a->wait ? wait_running(c, a) : rc;
}

int verb_retry(struct cli *c, int argc, char **argv)
{
    static const struct option options[] = { { "wait", no_argument, NULL, 1 },
                                             { "timeout", required_argument, NULL, 2 },
                                             { NULL, 0, NULL, 0 } };
    struct retry_args a = { .timeout_ms = 120000 };
    int o, rc;

    while ((o = cli_getopt(c, argc, argv, "", options)) != -1) {
        if (o == 2 && !str_parse_duration(optarg, &a.timeout_ms)) {
            return cli_bad_usage(c, "--timeout %s: want a duration such as 2m", optarg);
        }
        if (o == 1) {
            a.wait = true;
        } else if (o != 2) {
            return cli_usage(c);
        }
    }
    if (argc == optind) {
        return cli_bad_usage(c, "which VM? Give names (`picket get vm` lists them)");
    }
    a.vms = argv + optind;
    a.n = (size_t)(argc - optind);
    for (size_t i = 0; i < a.n; i++) {
        if (!str_is_name(bare(a.vms[i]))) {
            return cli_bad_usage(c, "\"%s\" is not the name of a VM", a.vms[i]);
        }
    }
    rc = cli_connect(c);
    return rc == CLI_OK ? retry_all(c, &a) : rc;
}
