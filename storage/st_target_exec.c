/* iSCSI targets on this host: node records with our settings and secrets, and what their sessions
 * are. */

#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/valid.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "storage/st_priv.h"

/* --- node records ------------------------------------------------------------------------------
 */

bool st_has_secrets(const struct st_host *h, const char *name, const json_t *target)
{
    return jget(target, "spec.chap") == NULL || st_secrets_of(h, "iscsitargets", name) != NULL;
}

static void settings_of(const struct st_host *h, const char *name, const json_t *target,
                        struct iscsi_settings *s)
{
    const json_t *secrets = st_secrets_of(h, "iscsitargets", name);

    *s = (struct iscsi_settings){
        .username = jget_str(target, "spec.chap.username", NULL),
        .password = json_string_value(json_object_get(secrets, "spec.chap.passwordRef")),
        .mutual_username = jget_str(target, "spec.chap.mutualUsername", NULL),
        .mutual_password =
            json_string_value(json_object_get(secrets, "spec.chap.mutualPasswordRef")),
        .header_crc = str_eq(jget_str(target, "spec.headerDigest", ""), "CRC32C"),
        .data_crc = str_eq(jget_str(target, "spec.dataDigest", ""), "CRC32C"),
        .replacement_ms = jget_duration(target, "spec.replacementTimeout", 5000),
        .noop_interval_ms = jget_duration(target, "spec.noopInterval", 5000),
        .noop_timeout_ms = jget_duration(target, "spec.noopTimeout", 5000),
    };
}

/* Our settings into one record: a file of mode 0600 in open-iscsi's database. */
static void set_record(struct st_op *op, const char *path, const struct iscsi_settings *s)
{
    struct buf have = { 0 }, want = { 0 };
    struct err err;
    int rc = st_file_read(path, &have);

    if (rc != 0) {
        (void)snprintf(op->step_why, sizeof(op->step_why), "%s: %s", path, strerror(-rc));
    } else if (iscsi_record_set((const char *)have.data, have.len, s, &want, &err) != 0) {
        (void)snprintf(op->step_why, sizeof(op->step_why), "%.200s: %.300s", path, err.msg);
    } else if (want.len != have.len || memcmp(want.data, have.data, want.len) != 0) {
        rc = st_file_write(path, &want, 0600);
        if (rc != 0) {
            (void)snprintf(op->step_why, sizeof(op->step_why), "%s: %s", path, strerror(-rc));
        } else {
            lg_info("storage", "record=%s msg=\"written; a session uses it from its next login\"",
                    path);
        }
    }
    st_buf_wipe(&have);
    st_buf_wipe(&want);
}

/* etc/iscsi/nodes/IQN/ADDRESS,PORT,TAG/default, or without a tag a file ADDRESS,PORT. */
void st_record_set(struct st_op *op, const char *name, const char *portal)
{
    const json_t *target = st_object(op->h, "iscsitargets", name);
    struct iscsi_settings s;
    glob_t g = { 0 };
    bool v6 = portal[0] == '[';
    char *pattern;

    if (target == NULL || !st_has_secrets(op->h, name, target)) {
        return; /* a record without its secrets would end what works */
    }
    settings_of(op->h, name, target, &s);
    pattern = mem_printf("%s/iscsi/nodes/%s/%.*s,*", op->h->etc, jget_str(target, "spec.iqn", "?"),
                         (int)(v6 ? strcspn(portal + 1, "]") : strcspn(portal, ":")),
                         v6 ? portal + 1 : portal);
    if (glob(pattern, 0, NULL, &g) == 0) {
        for (size_t i = 0; i < g.gl_pathc; i++) {
            char *inner = mem_printf("%s/default", g.gl_pathv[i]);

            set_record(op, access(inner, F_OK) == 0 ? inner : g.gl_pathv[i], &s);
            free(inner);
        }
    }
    globfree(&g);
    free(pattern);
}

/* --- the object --------------------------------------------------------------------------------
 */

static void target_looked(struct st_op *op)
{
    const char *portals[LUN_PORTALS_MAX];
    const char *iqn = jget_str(op->object, "spec.iqn", "");
    size_t n = st_portals_of(op, op->object, portals), up = 0;
    json_t *list = json_array();
    char *text;

    for (size_t i = 0; i < n; i++) {
        const struct iscsi_session *s = iscsi_find(&op->sessions, iqn, portals[i]);

        up += s != NULL && s->logged_in ? 1 : 0;
        (void)json_array_append_new(list, json_pack("{s:s, s:s}", "portal", portals[i], "state",
                                                    s == NULL      ? "Free"
                                                    : s->logged_in ? "LoggedIn"
                                                                   : "Failed"));
    }
    st_detail(op, "sessions", list);
    for (size_t i = 0; i < n && !json_is_true(jget(op->object, "spec.paused")); i++) {
        st_record_set(op, op->name, portals[i]); /* only those that there are */
    }
    text = arena_printf(&op->a, "sessions over %zu of %zu portals", up, n);
    if (!op->has_sessions) {
        st_answer(op, ST_UNKNOWN, "CannotLook", op->look_why);
    } else if (up == 0 && !st_has_secrets(op->h, op->name, op->object)) {
        st_answer(op, ST_NOT_READY, "SecretsMissing",
                  "it wants CHAP, and the cluster did not tell this host the secrets: does "
                  "spec.chap.passwordRef name a Secret that exists, and its key?");
    } else if (op->step_why[0] != '\0') {
        st_answer(op, ST_NOT_READY, "RecordNotWritten", text);
    } else {
        st_answer(op, ST_READY, up == n ? "LoggedIn" : up == 0 ? "Idle" : "Degraded", text);
    }
}

void st_target_begin(struct st_op *op)
{
    if (op->object == NULL) {
        st_answer(op, ST_READY, "Deleted", "its sessions stay");
    } else {
        st_look_san(op, target_looked);
    }
}
