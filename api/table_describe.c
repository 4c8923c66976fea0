/* `picket describe`: one object for people. */

#include "api/json_path.h"
#include "api/manifest.h"
#include "api/table.h"
#include "api/valid.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>

/* Text of several lines, each behind `indent` spaces. */
static void add_indented(struct buf *out, const char *text, int indent)
{
    while (*text != 0) {
        size_t n = strcspn(text, "\n");

        buf_printf(out, "%*s%.*s\n", indent, "", (int)n, text);
        text += n + (text[n] == '\n' ? 1 : 0);
    }
}

static void add_yaml(struct buf *out, const char *title, const json_t *v)
{
    char *text;

    if (!json_is_object(v) || json_object_size(v) == 0) {
        return;
    }
    text = json_to_yaml(v);
    buf_printf(out, "%s:\n", title);
    add_indented(out, text, 2);
    free(text);
}

static void add_pairs(struct buf *out, const char *title, const json_t *map)
{
    const char *key;
    json_t *v;
    bool first = true;

    json_object_foreach (json_loose(map), key, v) {
        const char *s = json_string_value(v);
        size_t n = s != NULL ? strcspn(s, "\n") : 0;

        /* What tools keep in annotations is not for people. */
        if (str_starts(key, "kubectl.kubernetes.io/")) {
            continue;
        }
        buf_printf(out, "%-13s %s=%.*s%s\n", first ? title : "", key, (int)(n < 120 ? n : 120),
                   s != NULL ? s : "", n < 120 && (s == NULL || s[n] == 0) ? "" : "...");
        first = false;
    }
}

static void add_time(struct buf *out, const char *title, const json_t *obj, const char *path,
                     uint64_t now_wall_ms)
{
    const char *s = jget_str(obj, path, NULL);
    uint64_t then;
    char age[32];

    if (s == NULL || !str_parse_time(s, &then)) {
        return;
    }
    str_format_age(now_wall_ms > then ? now_wall_ms - then : 0, age, sizeof(age));
    buf_printf(out, "%-13s %s (%s ago)\n", title, s, age);
}

static const struct column condition_columns[] = {
    { .title = "Type", .path = ".type" },
    { .title = "Status", .path = ".status" },
    { .title = "Since", .path = "@since:.lastTransitionTime" },
    { .title = "Reason", .path = ".reason" },
    { .title = "Message", .path = ".message" },
    { .title = NULL },
};

static void add_conditions(struct buf *out, const json_t *conditions, uint64_t now_wall_ms)
{
    static const struct kind condition_kind = { .name = "Condition", .columns = condition_columns };
    struct buf table = { 0 };

    if (json_array_size(conditions) == 0) {
        return;
    }
    table_print(&condition_kind, conditions, false, true, now_wall_ms, &table);
    buf_add_str(out, "Conditions:\n");
    add_indented(out, buf_cstr(&table), 2);
    buf_done(&table);
}

/* How a person gets at the console and the screen: status.console says where they are, such as
 * "tty /dev/pts/3, vnc 127.0.0.1:5901". */
static void add_reach(struct buf *out, const json_t *vm)
{
    const char *console = jget_str(vm, "status.console", "");
    const char *host = jget_str(vm, "status.host", "");
    const char *vnc = strstr(console, "vnc ");
    const char *port;
    size_t n;

    if (strstr(console, "tty ") != NULL) {
        buf_printf(out, "%-13s picket console %s\n", "Console:", obj_name(vm));
    }
    if (vnc == NULL || host[0] == '\0') {
        return;
    }
    vnc += strlen("vnc ");
    n = strcspn(vnc, ", ");
    port = memrchr(vnc, ':', n);
    if (port == NULL) {
        return;
    }
    port++;
    n = (size_t)(port - vnc) - 1;
    buf_printf(out, "%-13s VNC %.*s on %s: ", "Screen:", (int)strcspn(vnc, ", "), vnc, host);
    if (str_starts(vnc, "127.") || str_starts(vnc, "[::1]") || str_starts(vnc, "::1:")) {
        buf_printf(out, "ssh -N -L %s:%.*s:%s %s, then vncviewer localhost::%s\n", port, (int)n,
                   vnc, port, host, port);
    } else if (str_starts(vnc, "0.0.0.0:") || str_starts(vnc, ":")) {
        buf_printf(out, "vncviewer %s::%s\n", host, port);
    } else {
        buf_printf(out, "vncviewer %.*s::%s\n", (int)n, vnc, port);
    }
}

void describe_print(const struct kind *k, const json_t *obj, uint64_t now_wall_ms, struct buf *out)
{
    json_t *copy = json_deep_copy(obj);
    json_t *status;

    obj_redact(k, copy);
    status = json_object_get(copy, "status");
    buf_printf(out, "%-13s %s\n%-13s %s\n", "Name:", obj_name(copy), "Kind:", k->name);
    add_pairs(out, "Labels:", jget(copy, "metadata.labels"));
    add_pairs(out, "Annotations:", jget(copy, "metadata.annotations"));
    add_time(out, "Created:", copy, "metadata.creationTimestamp", now_wall_ms);
    add_time(out, "Deleting:", copy, "metadata.deletionTimestamp", now_wall_ms);
    if (jget(copy, "metadata.finalizers") != NULL &&
        jget(copy, "metadata.deletionTimestamp") != NULL) {
        static const struct column c = { .title = "Finalizers", .path = ".metadata.finalizers" };
        char *text = column_text(&c, copy, now_wall_ms);

        buf_printf(out, "%-13s %s\n", "Waits for:", text);
        free(text);
    }
    if (jget(copy, "metadata.generation") != NULL) {
        long long generation = jget_int(copy, "metadata.generation", 0);

        buf_printf(out, "%-13s %lld\n", "Generation:", generation);
    }
    add_yaml(out, "Spec", json_object_get(copy, "spec"));
    if (json_is_object(status)) {
        json_t *conditions = json_incref(json_object_get(status, "conditions"));

        json_object_del(status, "conditions");
        add_yaml(out, "Status", status);
        add_conditions(out, conditions, now_wall_ms);
        json_decref(conditions);
    }
    if (str_eq(k->name, "VirtualMachine")) {
        add_reach(out, copy);
    }
    json_decref(copy);
}
