/* This host's name as an iSCSI initiator: /etc/iscsi/initiatorname.iscsi. */

#include <errno.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "storage/st_priv.h"

#define SYSTEMCTL "/usr/bin/systemctl"
#define RESTART_MS 30000U

/* The last line of the form InitiatorName=... counts, as for iscsid. */
static void name_in(const char *text, char *dst, size_t size)
{
    static const char key[] = "InitiatorName=";

    dst[0] = '\0';
    for (const char *p = text; *p != '\0'; p += strcspn(p, "\n"), p += *p == '\n' ? 1 : 0) {
        size_t n = strcspn(p, " \t\r\n");

        if (str_starts(p, key) && n - strlen(key) < size) {
            memcpy(dst, p + strlen(key), n - strlen(key));
            dst[n - strlen(key)] = '\0';
        }
    }
}

static bool has_sessions(const struct st_host *h)
{
    char *pattern = mem_printf("%s/class/iscsi_session/session*", h->sys);
    glob_t g = { 0 };
    bool any = glob(pattern, GLOB_NOSORT, NULL, &g) == 0 && g.gl_pathc > 0;

    globfree(&g);
    free(pattern);
    return any;
}

static void restarted(void *ctx, const struct cmd_result *r)
{
    (void)ctx;
    if (r->end != CMD_OK) {
        lg_warn("storage", "err=\"%s\" msg=\"iscsid goes on under its old name\"", r->why);
    }
}

/* iscsid reads the file when it starts; without sessions nobody misses it meanwhile. */
static void restart_iscsid(struct st_host *h)
{
    char *program =
        h->programs == NULL ? mem_strdup(SYSTEMCTL) : mem_printf("%s/systemctl", h->programs);
    const char *const argv[] = { program, "try-restart", "iscsid.service", NULL };
    struct cmd_spec spec = { .argv = argv, .timeout_ms = RESTART_MS };
    struct err err;

    if (!h->closing && cmd_start(h->runner, &spec, restarted, NULL, NULL, &err) != 0) {
        lg_warn("storage", "err=\"%s\" msg=\"iscsid goes on under its old name\"", err.msg);
    }
    free(program);
}

static void rename_host(struct st_host *h, const char *path, const char *want,
                        struct st_initiator *ret)
{
    struct buf b = { 0 };
    int rc;

    if (has_sessions(h)) {
        (void)snprintf(ret->problem, sizeof(ret->problem),
                       "the initiator name is \"%.100s\", spec.iscsi.initiatorName wants "
                       "\"%.100s\": it is changed as soon as this host has no iSCSI session",
                       ret->name, want);
        return;
    }
    buf_printf(&b, "InitiatorName=%s\n", want);
    rc = st_file_write(path, &b, 0600);
    buf_done(&b);
    if (rc != 0) {
        (void)snprintf(ret->problem, sizeof(ret->problem), "%s cannot be written: %s", path,
                       strerror(-rc));
        return;
    }
    lg_info("storage", "file=%s initiator=%s was=%s msg=\"written; iscsid starts again\"", path,
            want, ret->name);
    (void)str_copy(ret->name, sizeof(ret->name), want);
    restart_iscsid(h);
}

void st_initiator(struct st_host *h, const char *want, struct st_initiator *ret)
{
    char *path = mem_printf("%s/iscsi/initiatorname.iscsi", h->etc);
    struct buf b = { 0 };
    int rc = st_file_read(path, &b);

    ret->problem[0] = '\0';
    name_in(rc == 0 ? buf_cstr(&b) : "", ret->name, sizeof(ret->name));
    buf_done(&b);
    if (rc != 0 && rc != -ENOENT) {
        (void)snprintf(ret->problem, sizeof(ret->problem), "%s cannot be read: %s", path,
                       strerror(-rc));
    } else if (want != NULL && want[0] != '\0' && !str_eq(want, ret->name)) {
        rename_host(h, path, want, ret);
    }
    free(path);
}
