/* MultipathPolicy objects as a fragment of multipath.conf(5). */

#include <inttypes.h>
#include <string.h>

#include "api/valid.h"
#include "base/str.h"
#include "storage/mpath_codec.h"

struct out {
    struct buf *b;
    const char *object;
    struct err *err;
    int rc;
};

/* A quoted value: inside quotes only the quote itself is special, and it cannot be escaped. */
static void put(struct out *o, const char *key, const char *value)
{
    if (value == NULL || o->rc != 0) {
        return;
    }
    if (strpbrk(value, "\"\r\n") != NULL) {
        o->rc = err_set(o->err, ERR_INVALID,
                        "MultipathPolicy %s: %s may not hold quotes or line ends", o->object, key);
        return;
    }
    buf_printf(o->b, "        %s \"%s\"\n", key, value);
}

static void put_int(struct out *o, const char *key, const json_t *v)
{
    if (v != NULL && o->rc == 0) {
        buf_printf(o->b, "        %s %" JSON_INTEGER_FORMAT "\n", key, json_integer_value(v));
    }
}

static void put_seconds(struct out *o, const char *key, const json_t *spec, const char *field)
{
    uint64_t ms = jget_duration(spec, field, 0);

    if (ms != 0 && o->rc == 0) {
        buf_printf(o->b, "        %s %" PRIu64 "\n", key, (ms + 999) / 1000);
    }
}

/* The word that multipathd uses for ours. */
static const char *word(struct out *o, const char *field, const char *ours,
                        const char *const pairs[][2])
{
    for (size_t i = 0; pairs[i][0] != NULL; i++) {
        if (str_eq(pairs[i][0], ours)) {
            return pairs[i][1];
        }
    }
    if (o->rc == 0) {
        o->rc = err_set(o->err, ERR_INVALID, "MultipathPolicy %s: spec.%s: unknown word \"%s\"",
                        o->object, field, ours);
    }
    return NULL;
}

static const char *const groupings[][2] = { { "Failover", "failover" },
                                            { "Multibus", "multibus" },
                                            { "GroupByPrio", "group_by_prio" },
                                            { "GroupBySerial", "group_by_serial" },
                                            { "GroupByNodeName", "group_by_node_name" },
                                            { NULL, NULL } };
static const char *const weights[][2] = { { "Uniform", "uniform" },
                                          { "Priorities", "priorities" },
                                          { NULL, NULL } };
static const char *const failbacks[][2] = { { "Immediate", "immediate" },
                                            { "Manual", "manual" },
                                            { "FollowOver", "followover" },
                                            { NULL, NULL } };

static void put_failback(struct out *o, const json_t *spec)
{
    const json_t *v = json_object_get(spec, "failback");
    uint64_t ms = 0;

    if (v != NULL && json_as_duration(v, &ms)) {
        put_seconds(o, "failback", spec, "failback");
    } else {
        put(o, "failback", word(o, "failback", jget_str(spec, "failback", "Manual"), failbacks));
    }
}

/* Never "queue": an absent or impossible number is the default of the object. 0 fails at once. */
static void put_retry(struct out *o, const json_t *spec)
{
    int64_t n = jget_int(spec, "noPathRetry", 12);

    if (n < 0 || n > 300) {
        o->rc = err_set(o->err, ERR_INVALID,
                        "MultipathPolicy %s: spec.noPathRetry is not a number from 0 to 300",
                        o->object);
    } else if (n == 0) {
        put(o, "no_path_retry", "fail");
    } else {
        buf_printf(o->b, "        no_path_retry %" PRId64 "\n", n);
    }
}

static int put_device(const json_t *policy, struct buf *b, struct err *err)
{
    const json_t *spec = jget(policy, "spec");
    struct out o = { .b = b, .object = obj_name(policy), .err = err };

    buf_printf(b, "    device { # MultipathPolicy %s\n", o.object);
    put(&o, "vendor", jget_str(spec, "match.vendor", ".*"));
    put(&o, "product", jget_str(spec, "match.product", ".*"));
    put(&o, "revision", jget_str(spec, "match.revision", NULL));
    put(&o, "product_blacklist", jget_str(spec, "productBlacklist", NULL));
    put(&o, "path_grouping_policy",
        word(&o, "grouping", jget_str(spec, "grouping", "GroupByPrio"), groupings));
    put(&o, "prio", jget_str(spec, "prio", NULL));
    put(&o, "prio_args", jget_str(spec, "prioArgs", NULL));
    put(&o, "hardware_handler", jget_str(spec, "hardwareHandler", NULL));
    put(&o, "path_checker", jget_str(spec, "checker", "tur"));
    put(&o, "path_selector", jget_str(spec, "selector", "service-time 0"));
    put_failback(&o, spec);
    if (o.rc == 0) {
        put_retry(&o, spec);
    }
    if (json_object_get(spec, "rrWeight") != NULL) {
        put(&o, "rr_weight", word(&o, "rrWeight", jget_str(spec, "rrWeight", ""), weights));
    }
    put_int(&o, "rr_min_io_rq", json_object_get(spec, "rrMinIO"));
    put_seconds(&o, "fast_io_fail_tmo", spec, "fastIOFailTimeout");
    put_seconds(&o, "dev_loss_tmo", spec, "devLossTimeout");
    buf_add_str(b, "    }\n");
    return o.rc;
}

/* multipathd has one polling interval for all devices: the shortest that is asked for. */
static uint64_t polling_seconds(const json_t *const *policies, size_t n)
{
    uint64_t ms = n > 0 ? UINT64_MAX : 5000;

    for (size_t i = 0; i < n; i++) {
        uint64_t v = jget_duration(policies[i], "spec.pollingInterval", 5000);

        ms = v < ms ? v : ms;
    }
    return ms < 1000 ? 1 : ms / 1000;
}

int mpath_conf_render(const json_t *const *policies, size_t n, struct buf *out, struct err *err)
{
    uint64_t poll_s = polling_seconds(policies, n);
    int rc = 0;

    buf_printf(out,
               "# Made by Picket from the MultipathPolicy objects. Changes are overwritten.\n"
               "defaults {\n"
               "    user_friendly_names no\n"
               "    find_multipaths strict\n"
               "    polling_interval %" PRIu64 "\n"
               "    max_polling_interval %" PRIu64 "\n"
               "    no_path_retry 12\n"
               "    flush_on_last_del yes\n"
               "}\n"
               "devices {\n",
               poll_s, poll_s);
    for (size_t i = 0; i < n && rc == 0; i++) {
        rc = put_device(policies[i], out, err);
    }

    buf_add_str(out, "}\n");
    return rc;
}
