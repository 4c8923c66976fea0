/* picket status: asks every member for its own view, then anyone for the objects. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/valid.h"
#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picket/cli.h"
#include "cmd/picket/status_plan.h"

#define VIEW_MS 2000
#define LIST_MS 4000

/* members: [{"server", "view" or "error"}] */
static void on_view(void *members, size_t i, const struct err *err, json_t *obj)
{
    json_t *m = json_array_get(members, i);

    if (err != NULL) {
        (void)json_object_set_new(m, "error", json_string(err->msg));
    } else {
        (void)json_object_set(m, "view", obj);
    }
}

static json_t *ask_members(struct cli *c)
{
    json_t *members = json_array();

    for (size_t i = 0; i < c->cfg->n_servers; i++) {
        (void)json_array_append_new(members, json_pack("{s:s}", "server", c->cfg->servers[i]));
    }
    cli_ask_members(c, "/cluster", VIEW_MS, on_view, NULL, members);
    return members;
}

/* Lists come from a member that answered, one that knows a leader first. */
static void put_first(struct cli *c, const json_t *members)
{
    size_t best = 0;

    for (size_t i = 0; i < json_array_size(members); i++) {
        const json_t *m = json_array_get(members, i);
        const json_t *old = json_array_get(members, best);

        if (jget(m, "view") != NULL &&
            (jget(old, "view") == NULL ||
             (jget_bool(m, "view.quorate", false) && !jget_bool(old, "view.quorate", false)))) {
            best = i;
        }
    }
    if (c->cfg->n_servers > 0) {
        char *first = c->cfg->servers[best];

        c->cfg->servers[best] = c->cfg->servers[0];
        c->cfg->servers[0] = first;
    }
}

static int list(struct cli *c, const char *plural, json_t **ret, struct err *err)
{
    struct api_op op = { .method = "GET", .plural = plural, .timeout_ms = LIST_MS };
    json_t *obj = NULL;
    int rc = cli_request(c, &op, &obj, err);

    if (rc == 0) {
        *ret = json_incref(json_object_get(obj, "items"));
        json_decref(obj);
    }
    return rc;
}

struct lists {
    json_t *hosts, *vms, *fencings, *devices, *clusters;
};

static int read_lists(struct cli *c, struct lists *l, struct err *err)
{
    int rc = list(c, "hosts", &l->hosts, err);

    rc = rc == 0 ? list(c, "virtualmachines", &l->vms, err) : rc;
    rc = rc == 0 ? list(c, "fencings", &l->fencings, err) : rc;
    rc = rc == 0 ? list(c, "fencedevices", &l->devices, err) : rc;
    return rc == 0 ? list(c, "clusters", &l->clusters, err) : rc;
}

static bool any_answer(const json_t *members)
{
    for (size_t i = 0; i < json_array_size(members); i++) {
        if (jget(json_array_get(members, i), "view") != NULL) {
            return true;
        }
    }
    return false;
}

static void show(const struct status_in *in, enum cli_output out, int *exit_code)
{
    json_t *summary = status_summary(in);
    struct buf text = { 0 };

    if (out == OUT_JSON) {
        cli_print_json(summary);
    } else if (out == OUT_YAML) {
        cli_print_yaml(summary);
    } else {
        status_print(in, summary, &text);
        cli_flush(&text);
    }
    *exit_code =
        jget_bool(summary, "quorate", false) && in->why_not == NULL ? CLI_OK : CLI_UNREACHABLE;
    buf_done(&text);
    json_decref(summary);
}

static int status_once(struct cli *c, enum cli_output out)
{
    struct status_in in = { .color = cli_color(stdout) };
    struct lists l = { 0 };
    struct err err = { 0 };
    json_t *members = ask_members(c);
    int exit_code;

    if (!any_answer(members)) {
        (void)err_set(&err, ERR_UNREACHABLE, "no member of the cluster answers");
    } else {
        put_first(c, members);
        if (api_client_new(&c->loop, c->cfg, &c->client, &err) == 0) {
            (void)read_lists(c, &l, &err);
        }
    }
    in.members = members;
    in.hosts = l.hosts;
    in.vms = l.vms;
    in.fencings = l.fencings;
    in.devices = l.devices;
    in.clusters = l.clusters;
    in.why_not = err.code != 0 ? err.msg : NULL;
    in.now_wall_ms = clock_wall_ms();
    show(&in, out, &exit_code);
    json_decref(members);
    json_decref(l.hosts);
    json_decref(l.vms);
    json_decref(l.fencings);
    json_decref(l.devices);
    json_decref(l.clusters);
    return exit_code;
}

int verb_status(struct cli *c, int argc, char **argv)
{
    static const struct option options[] = { { "output", required_argument, NULL, 'o' },
                                             { NULL, 0, NULL, 0 } };
    enum cli_output out = OUT_TABLE;
    int o, rc;

    while ((o = cli_getopt(c, argc, argv, "o:", options)) != -1) {
        if (o != 'o') {
            return cli_usage(c);
        }
        if (!cli_parse_output(optarg, &out) || out == OUT_NAME || out == OUT_WIDE) {
            return cli_bad_usage(c, "-o %s: want json or yaml", optarg);
        }
    }
    if (argc != optind) {
        return cli_bad_usage(c, "takes no arguments; for one object: picket why KIND NAME");
    }
    rc = cli_prepare(c);
    return rc == CLI_OK ? status_once(c, out) : rc;
}
