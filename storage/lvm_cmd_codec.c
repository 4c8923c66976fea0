#include "storage/lvm_cmd_codec.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/obj.h"
#include "base/str.h"
#include "storage/dm_codec.h"

#define ARGS_MAX 96
#define CONF_HEAD "# Made by Picket, CRC-32C of what follows: "
#define COMMON_CONFIG "devices/hints=\"none\" activation/monitoring=0 global/use_lvmpolld=0"

struct args {
    struct arena *a;
    const char **v;
    size_t n;
};

static void add(struct args *x, const char *s)
{
    CHECK(x->n + 1 < ARGS_MAX);
    x->v[x->n++] = s;
}

static struct args args_new(struct arena *a, const char *program)
{
    struct args x = { .a = a, .v = ARENA_ARRAY(a, const char *, ARGS_MAX) };

    add(&x, program);
    return x;
}

static struct args lvm(struct arena *a, const char *verb, const char *more_config)
{
    struct args x = args_new(a, LVM_PROGRAM);

    add(&x, verb);
    add(&x, "--config");
    add(&x, arena_printf(a, "%s%s", COMMON_CONFIG, more_config));
    return x;
}

static const char *const *report(struct arena *a, const char *verb, const char *columns)
{
    struct args x = lvm(a, verb, "");

    add(&x, "--nolocking");
    add(&x, "--reportformat");
    add(&x, "json");
    add(&x, "--units");
    add(&x, "b");
    add(&x, "--nosuffix");
    add(&x, "-o");
    add(&x, columns);
    return x.v;
}

static const char *const *dm_list(struct arena *a)
{
    struct args x = args_new(a, DMSETUP_PROGRAM);

    add(&x, "info");
    add(&x, "-c");
    add(&x, "--noheadings");
    add(&x, "--separator");
    add(&x, "|");
    add(&x, "-o");
    add(&x, DM_COLUMNS);
    return x.v;
}

const char *const *lvm_look_argv(enum lvm_look look, struct arena *a)
{
    switch (look) {
    case LVM_LOOK_VGS:
        return report(a, "vgs", LVM_VG_COLUMNS);
    case LVM_LOOK_PVS:
        return report(a, "pvs", LVM_PV_COLUMNS);
    case LVM_LOOK_LVS:
        return report(a, "lvs", LVM_LV_COLUMNS);
    case LVM_LOOK_DM:
        return dm_list(a);
    }
    CHECK_UNREACHABLE();
}

/* --- steps --- */

static bool is_volume_step(enum st_step_kind k)
{
    return k != ST_VG_CREATE && k != ST_VG_EXTEND && k != ST_PV_RESIZE;
}

static bool device_ok(const char *d)
{
    return d != NULL && str_starts(d, "/dev/") && strstr(d, "/../") == NULL;
}

static int check_names(const struct st_step *s, const struct lvm_cmd *c, struct err *err)
{
    size_t n = 0;

    if (!lvm_name_ok(c->group)) {
        return err_set(err, ERR_INVALID, "%s: \"%s\" is no name for a volume group",
                       st_step_name(s->kind), c->group != NULL ? c->group : "");
    }
    if (is_volume_step(s->kind) && !lvm_name_ok(c->volume)) {
        return err_set(err, ERR_INVALID, "%s: \"%s\" is no name for a volume",
                       st_step_name(s->kind), c->volume != NULL ? c->volume : "");
    }
    if ((s->kind == ST_VG_EXTEND || s->kind == ST_PV_RESIZE) && !device_ok(s->device)) {
        return err_set(err, ERR_INVALID, "%s: \"%s\" is no device", st_step_name(s->kind),
                       s->device);
    }
    if (s->kind != ST_VG_CREATE) {
        return 0;
    }
    for (; c->devices != NULL && c->devices[n] != NULL; n++) {
        if (!device_ok(c->devices[n])) {
            return err_set(err, ERR_INVALID, "vg-create: \"%s\" is no device", c->devices[n]);
        }
    }
    return n > 0 && n <= 64 ? 0 : err_set(err, ERR_INVALID, "vg-create: %zu devices", n);
}

static const char *const *vg_create(const struct lvm_cmd *c, struct arena *a)
{
    struct args x = lvm(a, "vgcreate", "");

    if (c->extent != 0) {
        add(&x, "--physicalextentsize");
        add(&x, arena_printf(a, "%" PRIu64 "b", c->extent));
    }
    add(&x, c->group);
    for (size_t i = 0; c->devices[i] != NULL; i++) {
        add(&x, c->devices[i]);
    }
    return x.v;
}

/* Not active, so nothing is zeroed or wiped through it: what an earlier volume left on these
 * extents can be read by the guest, as after every lvcreate beyond the first 4 KiB. */
static const char *const *vol_create(const struct st_step *s, const struct lvm_cmd *c,
                                     struct arena *a)
{
    struct args x = lvm(a, "lvcreate", "");

    add(&x, "--activate");
    add(&x, "n");
    add(&x, "--zero");
    add(&x, "n");
    add(&x, "--wipesignatures");
    add(&x, "n");
    add(&x, "--size");
    add(&x, arena_printf(a, "%" PRIu64 "b", s->size));
    add(&x, "--name");
    add(&x, c->volume);
    add(&x, c->group);
    return x.v;
}

/* lvm VERB [FLAG [VALUE]] GROUP/VOLUME */
static const char *const *on_volume(const char *verb, const char *flag, const char *value,
                                    const struct lvm_cmd *c, struct arena *a)
{
    struct args x = lvm(a, verb, "");

    add(&x, flag);
    if (value != NULL) {
        add(&x, value);
    }
    add(&x, arena_printf(a, "%s/%s", c->group, c->volume));
    return x.v;
}

static const char *const *activate(const struct lvm_cmd *c, struct arena *a)
{
    struct args x = lvm(
        a, "lvchange", arena_printf(a, " activation/volume_list=[\"%s/%s\"]", c->group, c->volume));

    add(&x, "--activate");
    add(&x, "y");
    add(&x, arena_printf(a, "%s/%s", c->group, c->volume));
    return x.v;
}

static const char *const *on_device(const char *verb, const char *before, const char *after,
                                    const char *device, struct arena *a)
{
    struct args x = lvm(a, verb, "");

    if (before != NULL) {
        add(&x, before);
    }
    add(&x, device);
    if (after != NULL) {
        add(&x, after);
    }
    return x.v;
}

/* dmsetup VERB [OPTIONS] NAME, the name without /dev/mapper/. */
static const char *const *dm(const char *verb, bool forced, const char *name, struct arena *a)
{
    struct args x = args_new(a, DMSETUP_PROGRAM);

    add(&x, verb);
    if (forced) { /* what cannot be written must not be waited for */
        add(&x, "--noflush");
        add(&x, "--nolockfs");
    }
    add(&x, name);
    return x.v;
}

static const char *dm_name(const struct lvm_cmd *c, struct arena *a)
{
    return lvm_mapper_path(a, c->group, c->volume) + strlen("/dev/mapper/");
}

static const char *const *fail_no_path(const char *map, struct arena *a)
{
    struct args x = args_new(a, DMSETUP_PROGRAM);

    add(&x, "message");
    add(&x, map);
    add(&x, "0");
    add(&x, "fail_if_no_path");
    return x.v;
}

int lvm_step_argv(const struct st_step *s, const struct lvm_cmd *c, struct arena *a,
                  const char *const **ret, struct err *err)
{
    int rc = check_names(s, c, err);

    if (rc != 0) {
        return rc;
    }
    switch (s->kind) {
    case ST_VG_CREATE:
        *ret = vg_create(c, a);
        return 0;
    case ST_VG_EXTEND:
        *ret = on_device("vgextend", c->group, NULL, s->device, a);
        return 0;
    case ST_PV_RESIZE:
        *ret = on_device("pvresize", NULL, NULL, s->device, a);
        return 0;
    case ST_VOL_CREATE:
        *ret = vol_create(s, c, a);
        return 0;
    case ST_VOL_GROW:
        *ret = on_volume("lvextend", "--size", arena_printf(a, "%" PRIu64 "b", s->size), c, a);
        return 0;
    case ST_VOL_REFRESH:
        *ret = on_volume("lvchange", "--refresh", NULL, c, a);
        return 0;
    case ST_VOL_ACTIVATE:
        *ret = activate(c, a);
        return 0;
    case ST_VOL_FAIL_NO_PATH:
        if (!lvm_name_ok(c->map)) {
            return err_set(err, ERR_INVALID, "%s: no name of a multipath map",
                           st_step_name(s->kind));
        }
        *ret = fail_no_path(c->map, a);
        return 0;
    case ST_VOL_WIPE_TABLE:
        *ret = dm("wipe_table", true, dm_name(c, a), a);
        return 0;
    case ST_VOL_DEACTIVATE:
        *ret = dm("remove", false, dm_name(c, a), a);
        return 0;
    case ST_VOL_REMOVE:
        *ret = on_volume("lvremove", "--force", NULL, c, a);
        return 0;
    case ST_VOL_TELL_GUEST:
        return err_set(err, ERR_UNSUPPORTED, "%s is no command", st_step_name(s->kind));
    }
    CHECK_UNREACHABLE();
}

/* --- configuration --- */

static void list_groups(struct buf *out, const char *key, const char *const *local, size_t n)
{
    buf_printf(out, "    %s = [", key);
    for (size_t i = 0; i < n; i++) {
        buf_printf(out, "%s \"%s\"", i > 0 ? "," : "", local[i]);
    }
    buf_add_str(out, " ]\n");
}

int lvm_conf_render(const char *const *local, size_t n, struct buf *out, struct err *err)
{
    struct buf body = { 0 };

    for (size_t i = 0; i < n; i++) {
        if (!lvm_name_ok(local[i])) {
            return err_set(err, ERR_INVALID, "LVM's configuration: \"%s\" is no name for a group",
                           local[i]);
        }
    }
    buf_add_str(&body,
                "# Changes are overwritten, and reported as drift.\n"
                "# Only the groups named here can be activated by hand or at boot; volumes of\n"
                "# Picket's groups are activated by picket-agent, under their lock.\n"
                "activation {\n");
    list_groups(&body, "volume_list", local, n);
    list_groups(&body, "auto_activation_volume_list", local, n);
    buf_add_str(&body, "}\n"
                       "devices {\n"
                       "    multipath_component_detection = 1\n"
                       "    scan_lvs = 0\n"
                       "    hints = \"none\"\n"
                       "}\n");
    buf_printf(out, CONF_HEAD "%08" PRIx32 "\n", crc32c(0, body.data, body.len));
    buf_add(out, body.data, body.len);
    buf_done(&body);
    return 0;
}

static bool ours(const char *text, size_t len, const char **ret_body)
{
    const char *nl = memchr(text, '\n', len);

    *ret_body = nl == NULL ? text + len : nl + 1;
    return len > strlen(CONF_HEAD) && strncmp(text, CONF_HEAD, strlen(CONF_HEAD)) == 0 &&
           nl != NULL && (size_t)(nl - text) == strlen(CONF_HEAD) + 8;
}

/* "key = value", or a value that goes on; a section without anything in it sets nothing. */
static bool sets_nothing(const char *text, size_t len)
{
    bool comment = false;

    for (size_t i = 0; i < len; i++) {
        comment = text[i] == '\n' ? false : comment || text[i] == '#';
        if (!comment && text[i] == '=') {
            return false;
        }
    }
    return true;
}

enum lvm_conf_owner lvm_conf_owner(const char *text, size_t len)
{
    const char *body;
    char sum[9];

    if (!ours(text, len, &body)) {
        return sets_nothing(text, len) ? LVM_CONF_NONE : LVM_CONF_FOREIGN;
    }
    (void)snprintf(sum, sizeof(sum), "%08" PRIx32,
                   crc32c(0, (const uint8_t *)body, len - (size_t)(body - text)));
    return strncmp(text + strlen(CONF_HEAD), sum, 8) == 0 ? LVM_CONF_OURS : LVM_CONF_EDITED;
}

size_t lvm_conf_drift(const char *have, size_t have_len, const char *want)
{
    size_t want_len = strlen(want);
    size_t line = 1;

    for (size_t i = 0; i < have_len || i < want_len; i++) {
        if (i >= have_len || i >= want_len || have[i] != want[i]) {
            return line;
        }
        line += have[i] == '\n' ? 1 : 0;
    }
    return 0;
}
