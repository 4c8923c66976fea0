/* picket auth: who am I, and may I? */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/valid.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picket/cli.h"

static int can_i(struct cli *c, const char *verb, const char *what, const char *name)
{
    struct api_op op = { .method = "POST",
                         .target = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews" };
    const char *slash = strchr(what, '/');
    char *resource = mem_strndup(what, slash != NULL ? (size_t)(slash - what) : strlen(what));
    const struct kind *k = str_eq(resource, "*") ? NULL : cli_kind(c, resource);
    json_t *body, *answer = NULL;
    struct err err = { 0 };
    int rc = CLI_USAGE;
    bool yes;

    if (k != NULL || str_eq(resource, "*")) {
        rc = cli_connect(c);
    }
    if (rc == CLI_OK) {
        body = json_pack("{s:s, s:s, s:{s:{s:s, s:s, s:s, s:s, s:s}}}", "kind",
                         "SelfSubjectAccessReview", "apiVersion", "authorization.k8s.io/v1", "spec",
                         "resourceAttributes", "verb", verb, "group", API_GROUP, "resource",
                         k != NULL ? k->plural : "*", "subresource", slash != NULL ? slash + 1 : "",
                         "name", name != NULL ? name : "");
        op.body = body;
        rc = cli_request(c, &op, &answer, &err) == 0 ? CLI_OK : cli_fail(c, &err);
        json_decref(body);
    }
    if (rc == CLI_OK) {
        yes = jget_bool(answer, "status.allowed", false);
        (void)printf("%s%s%s\n", yes ? "yes" : "no", yes ? "" : ": ",
                     yes ? "" : jget_str(answer, "status.reason", ""));
        rc = yes ? CLI_OK : CLI_ERROR;
    }
    json_decref(answer);
    free(resource);
    return rc;
}

static int whoami(struct cli *c)
{
    struct api_op op = { .method = "POST",
                         .target = "/apis/authentication.k8s.io/v1/selfsubjectreviews" };
    json_t *body = json_pack("{s:s, s:s}", "kind", "SelfSubjectReview", "apiVersion",
                             "authentication.k8s.io/v1");
    json_t *answer = NULL;
    struct err err = { 0 };
    int rc = cli_connect(c);

    op.body = body;
    if (rc == CLI_OK && cli_request(c, &op, &answer, &err) != 0) {
        rc = cli_fail(c, &err);
    }
    if (rc == CLI_OK) {
        (void)printf("%s \"%s\"\n", jget_str(answer, "status.userInfo.groups.0", "?"),
                     jget_str(answer, "status.userInfo.username", "?"));
    }
    json_decref(answer);
    json_decref(body);
    return rc;
}

int verb_auth(struct cli *c, int argc, char **argv)
{
    static const struct option options[] = { { NULL, 0, NULL, 0 } };
    int n;

    if (cli_getopt(c, argc, argv, "", options) != -1) {
        return cli_usage(c);
    }
    n = argc - optind;
    if (n == 1 && str_eq(argv[optind], "whoami")) {
        return whoami(c);
    }
    if ((n == 3 || n == 4) && str_eq(argv[optind], "can-i")) {
        return can_i(c, argv[optind + 1], argv[optind + 2], n == 4 ? argv[optind + 3] : NULL);
    }
    return cli_bad_usage(c, "want: whoami, or can-i VERB KIND [NAME]");
}
