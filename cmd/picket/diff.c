/* picket diff: what an apply would change, by a dry run of the server. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/valid.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picket/cli.h"
#include "cmd/picket/manifests.h"
#include "cmd/picket/text_diff.h"

/* As kubectl: 0 no differences, 1 differences, above 1 an error. */
#define DIFF_FOUND 1
#define DIFF_ERROR 2

/* Without what nobody declares: status, versions, who manages what. */
static char *comparable(const json_t *obj)
{
    static const char *const meta[] = { "managedFields",     "resourceVersion",   "generation",
                                        "creationTimestamp", "deletionTimestamp", "uid" };
    json_t *copy;
    char *text;

    if (!json_is_object(obj)) {
        return mem_strdup("");
    }
    copy = json_deep_copy(obj);
    (void)json_object_del(copy, "status");
    for (size_t i = 0; i < ARRAY_LEN(meta); i++) {
        (void)json_object_del(json_object_get(copy, "metadata"), meta[i]);
    }
    text = json_to_yaml(copy);
    json_decref(copy);
    return text;
}

static bool diff_item(const json_t *item, struct buf *out)
{
    const struct kind *k = kind_find(jget_str(item, "kind", ""));
    char *live = comparable(json_object_get(item, "live"));
    char *want = comparable(json_object_get(item, "object"));
    struct buf a = { 0 }, b = { 0 };
    bool differs;

    buf_printf(&a, "live/%s/%s", k != NULL ? k->singular : "?", jget_str(item, "name", "?"));
    buf_printf(&b, "apply/%s/%s", k != NULL ? k->singular : "?", jget_str(item, "name", "?"));
    differs = text_diff(buf_cstr(&a), live, buf_cstr(&b), want, 3, cli_color(stdout), out);
    buf_done(&a);
    buf_done(&b);
    free(live);
    free(want);
    return differs;
}

static int diff_all(struct cli *c, const struct manifests *ms)
{
    json_t *body = manifests_body(ms, true);
    struct api_op op = {
        .method = "POST", .target = API_PREFIX "/apply", .body = body, .repeatable = true
    };
    json_t *answer = NULL, *v;
    struct err err = { 0 };
    struct buf out = { 0 };
    bool any = false;
    size_t i;
    int rc = cli_request(c, &op, &answer, &err);

    json_decref(body);
    if (rc != 0) {
        rc = cli_fail(c, &err);
        return rc == DIFF_FOUND ? DIFF_ERROR : rc;
    }
    json_array_foreach (json_object_get(answer, "items"), i, v) {
        any = diff_item(v, &out) || any;
        cli_flush(&out);
    }
    buf_done(&out);
    json_decref(answer);
    return any ? DIFF_FOUND : CLI_OK;
}

int verb_diff(struct cli *c, int argc, char **argv)
{
    static const struct option options[] = { { "filename", required_argument, NULL, 'f' },
                                             { NULL, 0, NULL, 0 } };
    struct manifests ms = { 0 };
    int o, rc;

    while ((o = cli_getopt(c, argc, argv, "f:", options)) != -1) {
        if (o != 'f') {
            return cli_usage(c);
        }
        if (!manifests_add(&ms, optarg)) {
            return cli_bad_usage(c, "more than %d times -f; give a folder", FILES_MAX);
        }
    }
    if (ms.n_files == 0 || argc != optind) {
        return cli_bad_usage(c, "-f FILE says what to compare (a folder and - work too)");
    }
    rc = manifests_read(c, &ms, true);
    if (rc == CLI_OK) {
        rc = cli_connect(c);
    }
    rc = rc == CLI_OK ? diff_all(c, &ms) : rc == CLI_ERROR ? DIFF_ERROR : rc;
    manifests_done(&ms);
    return rc;
}
