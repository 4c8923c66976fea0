/* picket fence test HOST [--cycle]: can it be fenced, by whom, and do the cables say the same? */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/valid.h"
#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picket/cli.h"
#include "cmd/picket/fence.h"
#include "cmd/picket/fence_test_plan.h"
#include "fence/decide_plan.h"

#define TEST_MS 300000U /* every device by every picketd, each within 8 s */

static int post(struct cli *c, const char *host, const char *sub, json_t *body, json_t **ret,
                struct err *err)
{
    struct api_op op = { .method = "POST",
                         .plural = "hosts",
                         .name = host,
                         .sub = sub,
                         .body = body,
                         .timeout_ms = TEST_MS };
    int rc = cli_request(c, &op, ret, err);

    json_decref(body);
    return rc;
}

static int test_devices(struct cli *c, const char *host, bool json, struct fence_test_verdict *ret)
{
    json_t *answer = NULL;
    struct buf out = { 0 };
    struct err err = { 0 };

    if (post(c, host, "fence-test", json_object(), &answer, &err) != 0) {
        return cli_fail(c, &err);
    }
    fence_test_print(answer, clock_wall_ms(), &out, ret);
    if (json) {
        cli_print_json(answer);
        buf_done(&out);
    } else {
        cli_flush(&out);
    }
    (void)fflush(stdout);
    json_decref(answer);
    return ret->can && !ret->suspicious ? CLI_OK : CLI_CONFLICT;
}

/* --- the power cycle ----------------------------------------------------------------------------
 */

struct cycle {
    const char *host;
    const char *fencing;
    int64_t incarnation; /* before */
    char state[32], proof[32];
};

static bool fencing_over(void *ctx, const json_t *items)
{
    struct cycle *y = ctx;
    size_t i;
    json_t *v;

    json_array_foreach (items, i, v) {
        if (str_eq(obj_name(v), y->fencing)) {
            (void)str_copy(y->state, sizeof(y->state), jget_str(v, "status.state", ""));
            (void)str_copy(y->proof, sizeof(y->proof), jget_str(v, "status.proof", "None"));
            return !str_eq(y->state, "Open");
        }
    }
    return false;
}

static bool host_back(void *ctx, const json_t *items)
{
    const struct cycle *y = ctx;
    size_t i;
    json_t *v;

    json_array_foreach (items, i, v) {
        if (str_eq(obj_name(v), y->host)) {
            return jget_int(v, "status.incarnation", 0) > y->incarnation &&
                   str_eq(jget_str(v, "status.incarnationState", ""), "Live");
        }
    }
    return false;
}

static bool recorded(void *ctx, const json_t *items)
{
    const struct cycle *y = ctx;
    const char *dash = strrchr(y->fencing, '-');
    uint64_t id = 0;
    size_t i;
    json_t *v;

    if (dash == NULL || !str_parse_u64(dash + 1, &id)) {
        return false;
    }
    json_array_foreach (items, i, v) {
        if (jget_int(json_object_get(jget(v, "status.tested"), y->host), "fencing", 0) ==
            (int64_t)id) {
            return true;
        }
    }
    return false;
}

static int wait_for(struct cli *c, const char *plural, uint64_t timeout_ms,
                    bool (*done)(void *ctx, const json_t *items), struct cycle *y, const char *what)
{
    struct cli_wait w = { .plural = plural, .timeout_ms = timeout_ms, .done = done, .ctx = y };
    int rc;

    cli_say("  %s ...", what);
    rc = cli_wait(c, &w);
    if (rc == CLI_TIMEOUT) {
        cli_say(
            "picket fence test: gave up waiting after the timeout (--timeout): %s.  `picket why "
            "host %s`",
            what, y->host);
    }
    return rc;
}

static void say_power(const json_t *answer)
{
    const json_t *list = json_object_get(answer, "devices");

    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *d = json_array_get(list, i);

        if (!str_eq(jget_str(d, "result", ""), "Succeeded")) {
            cli_say("  %s did not switch it on (%s: %s): switch it on by hand",
                    jget_str(d, "name", "?"), jget_str(d, "result", "?"),
                    jget_str(d, "message", ""));
        }
    }
}

static int cycle_off(struct cli *c, struct cycle *y, uint64_t timeout_ms)
{
    int rc = wait_for(c, "fencings", timeout_ms, fencing_over, y, "switching it off");

    if (rc == CLI_OK && (!str_eq(y->state, "Succeeded") || !str_eq(y->proof, "Off"))) {
        cli_say("picket fence test: fencing/%s %s, proof %s: not by its devices, so nothing was "
                "learned about their wiring",
                y->fencing, y->state, y->proof);
        rc = CLI_CONFLICT;
    }
    return rc;
}

static int cycle_on(struct cli *c, struct cycle *y, uint64_t timeout_ms)
{
    json_t *answer = NULL;
    struct err err = { 0 };
    int rc;

    if (post(c, y->host, "power-on", json_object(), &answer, &err) != 0) {
        return cli_fail(c, &err);
    }
    say_power(answer);
    json_decref(answer);
    rc = wait_for(c, "hosts", timeout_ms, host_back, y, "waiting for its next boot");
    if (rc == CLI_OK) {
        rc = wait_for(c, "fencedevices", timeout_ms, recorded, y, "recording it");
    }
    return rc;
}

static int cycle_go(struct cli *c, struct cycle *y, uint64_t timeout_ms)
{
    json_t *fencing = NULL;
    struct err err = { 0 };
    char *id;
    int rc;

    if (post(c, y->host, "fence",
             json_pack("{s:s}", "reason", FENCE_WIRING_TEST " (picket fence test --cycle)"),
             &fencing, &err) != 0) {
        return cli_fail(c, &err);
    }
    id = mem_strdup(obj_name(fencing));
    json_decref(fencing);
    y->fencing = id;
    rc = cycle_off(c, y, timeout_ms);
    if (rc == CLI_OK) {
        rc = cycle_on(c, y, timeout_ms);
    }
    if (rc == CLI_OK) {
        (void)printf("host/%s went off and came back: its wiring is proved (fencing/%s)\n", y->host,
                     id);
    }
    free(id);
    return rc;
}

/* A wiring test says something only about a host that is well, and harms nobody only when it is
 * empty. */
static int cycle_check(struct cli *c, struct cycle *y)
{
    json_t *host = NULL;
    struct err err = { 0 };
    int64_t guests;
    bool live;

    if (cli_get(c, "hosts", y->host, &host, &err) != 0) {
        return cli_fail(c, &err);
    }
    guests = jget_int(host, "status.guests", 0);
    y->incarnation = jget_int(host, "status.incarnation", 0);
    live = str_eq(jget_str(host, "status.incarnationState", ""), "Live") &&
           str_eq(jget_str(cond_get(host, "Ready"), "status", ""), "True");
    json_decref(host);
    if (!live) {
        cli_say("picket fence test: %s is not well now; a power cycle would prove nothing: `picket "
                "why host %s`",
                y->host, y->host);
        return CLI_CONFLICT;
    }
    if (guests > 0) {
        cli_say("picket fence test: %s has %" PRId64 " guests; empty it first: picket drain %s",
                y->host, guests, y->host);
        return CLI_CONFLICT;
    }
    return CLI_OK;
}

static int cycle(struct cli *c, const char *host, bool yes, uint64_t timeout_ms)
{
    struct cycle y = { .host = host };
    struct fence_test_verdict v;
    char question[320];
    int rc = cycle_check(c, &y);

    rc = rc == CLI_OK ? test_devices(c, host, false, &v) : rc;
    if (rc != CLI_OK) {
        return rc;
    }
    (void)snprintf(question, sizeof(question), "Switch %s off and on again?", host);
    if (!yes && !cli_confirm(question)) {
        cli_say("picket fence test: not confirmed, nothing was done; --yes answers the question");
        return CLI_USAGE;
    }
    return cycle_go(c, &y, timeout_ms);
}

int fence_test(struct cli *c, int argc, char **argv)
{
    static const struct option options[] = { { "cycle", no_argument, NULL, 1 },
                                             { "yes", no_argument, NULL, 'y' },
                                             { "timeout", required_argument, NULL, 2 },
                                             { "output", required_argument, NULL, 'o' },
                                             { NULL, 0, NULL, 0 } };
    struct fence_test_verdict v;
    bool wants_cycle = false, yes = false, json = false;
    uint64_t timeout_ms = 600000;
    const char *name;
    int o, rc;

    while ((o = cli_getopt(c, argc, argv, "yo:", options)) != -1) {
        if (o == 1) {
            wants_cycle = true;
        } else if (o == 'y') {
            yes = true;
        } else if (o == 2 && !str_parse_duration(optarg, &timeout_ms)) {
            return cli_bad_usage(c, "--timeout %s: want a duration such as 10m", optarg);
        } else if (o == 'o' && !str_eq(optarg, "json")) {
            return cli_bad_usage(c, "-o %s: json is all there is here", optarg);
        } else if (o == 'o') {
            json = true;
        } else if (o != 2) {
            return cli_usage(c);
        }
    }
    if (argc - optind != 1) {
        return cli_bad_usage(c, "which host? picket fence test HOST");
    }
    name = argv[optind];
    if (str_starts(name, "host/") || str_starts(name, "hosts/")) {
        name = strchr(name, '/') + 1;
    }
    if (!str_is_name(name)) {
        return cli_bad_usage(c, "\"%s\" is not the name of a host", name);
    }
    rc = cli_connect(c);
    if (rc == CLI_OK) {
        rc = wants_cycle ? cycle(c, name, yes, timeout_ms) : test_devices(c, name, json, &v);
    }
    return rc;
}
