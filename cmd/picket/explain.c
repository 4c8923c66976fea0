/* picket explain: fields of a kind, and the parameters of fence agents. */

#include <stdio.h>
#include <string.h>

#include "api/table.h"
#include "api/valid.h"
#include "base/str.h"
#include "cmd/picket/cli.h"
#include "fence/agent_meta_exec.h"

/* What the program itself says; it has to be installed here. */
static int explain_agent(const char *program)
{
    struct buf b = { 0 };
    struct err err;
    int rc = agent_meta_ask(AGENT_META_DIR, program, &b, &err);

    if (rc == 0) {
        (void)printf("%s, a fence agent. In a FenceDevice of type Agent these go into "
                     "spec.parameters:\n\n",
                     program);
        cli_flush(&b);
        (void)printf("\nNot listed: what has a field of its own (address, port, username, "
                     "passwordRef, outlets) or is refused.\n");
    } else {
        cli_say("picket explain: %s: %s", program, err.msg);
    }
    buf_done(&b);
    return rc == 0 ? CLI_OK : cli_exit_code(rc);
}

static const char *program_of(const json_t *device)
{
    const char *type = jget_str(device, "spec.type", "");

    return str_eq(type, "Agent")     ? jget_str(device, "spec.agent", NULL)
           : str_eq(type, "Ipmi")    ? "fence_ipmilan"
           : str_eq(type, "Redfish") ? "fence_redfish"
                                     : NULL;
}

/* "fencedevice/NAME": the program that works for this device. */
static int explain_device(struct cli *c, const char *ref)
{
    const char *name = strchr(ref, '/') + 1;
    char kind[64];
    const struct kind *k;
    struct err err = { 0 };
    json_t *device = NULL;
    int rc;

    (void)snprintf(kind, sizeof(kind), "%.*s", (int)(strchr(ref, '/') - ref), ref);
    k = cli_kind(c, kind);
    if (k == NULL) {
        return CLI_USAGE;
    }
    if (!str_eq(k->name, "FenceDevice")) {
        return cli_bad_usage(c,
                             "of single objects only FenceDevices are explained; try `picket "
                             "explain %s` or `picket describe %s`",
                             kind, ref);
    }
    rc = cli_connect(c);
    if (rc != CLI_OK) {
        return rc;
    }
    if (cli_get(c, k->plural, name, &device, &err) != 0) {
        return cli_fail(c, &err);
    }
    if (program_of(device) != NULL) {
        (void)printf("fencedevice/%s: type %s\n", name, jget_str(device, "spec.type", ""));
        rc = explain_agent(program_of(device));
    } else {
        cli_say("picket explain: fencedevice/%s is of type %s, which needs no fence agent: `picket "
                "explain fencedevice.spec` has its fields",
                name, jget_str(device, "spec.type", "?"));
        rc = CLI_CONFLICT;
    }
    json_decref(device);
    return rc;
}

int verb_explain(struct cli *c, int argc, char **argv)
{
    static const struct option options[] = { { "recursive", no_argument, NULL, 'r' },
                                             { NULL, 0, NULL, 0 } };
    bool recursive = false;
    struct buf b = { 0 };
    bool known;
    int o;

    while ((o = cli_getopt(c, argc, argv, "r", options)) != -1) {
        if (o != 'r') {
            return cli_usage(c);
        }
        recursive = true;
    }
    if (argc - optind != 1) {
        return cli_bad_usage(c, "give one path, such as vm.spec.disks");
    }
    if (str_starts(argv[optind], "fence_")) {
        return explain_agent(argv[optind]);
    }
    if (strchr(argv[optind], '/') != NULL) {
        return explain_device(c, argv[optind]);
    }
    known = explain_print(argv[optind], recursive, &b);
    if (known) {
        cli_flush(&b);
    } else {
        cli_say("%.*s", (int)b.len, buf_cstr(&b));
    }
    buf_done(&b);
    return known ? CLI_OK : CLI_NOT_FOUND;
}
