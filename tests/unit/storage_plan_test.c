/* Golden tests of the planners of groups and volumes: tests/golden/storage/NAME.plan.
 *
 * A case is a line "== title", lines "want key=value ...", "have ..." and, for groups, one "disk
 * ..." a LUN, then "->" and the plan. What a case does not say is the normal state. An underscore
 * in a value stands for a space. PICKET_GOLDEN=write rewrites the plans; the cases stay. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/obj.h"
#include "base/str.h"
#include "storage/st_plan.h"

#define DISKS_MAX 8

struct world {
    struct arena a;
    bool is_group;
    struct vg_want gw;
    struct vg_have gh;
    struct vg_disk disks[DISKS_MAX];
    struct vol_want vw;
    struct vol_have vh;
};

static void world_init(struct world *w, bool is_group)
{
    memset(w, 0, sizeof(*w));
    w->is_group = is_group;
    w->gw = (struct vg_want){ .name = "g", .exists = true, .uuid = "", .disks = w->disks };
    w->gh = (struct vg_have){ .present = LVM_YES,
                              .same_name = 1,
                              .uuid = "G1",
                              .extent = 4 << 20,
                              .writable = true,
                              .why = "vgs timed out" };
    w->vw = (struct vol_want){ .group = "g",
                               .name = "web",
                               .exists = true,
                               .size = 10 << 20,
                               .hold = VOL_HOLD_FREE,
                               .lease = true };
    w->vh = (struct vol_have){ .group = LVM_YES,
                               .present = LVM_YES,
                               .type = '-',
                               .size = 12 << 20,
                               .extent = 4 << 20,
                               .active = LVM_NO,
                               .why = "dmsetup timed out" };
}

static enum lvm_tri tri(const char *v)
{
    if (str_eq(v, "yes")) {
        return LVM_YES;
    }
    return str_eq(v, "no") ? LVM_NO : LVM_UNKNOWN;
}

static uint64_t size(const char *v)
{
    uint64_t n = 0;

    if (!str_parse_size(v, &n)) {
        fail_msg("not a size: %s", v);
    }
    return n;
}

static enum vol_hold hold(const char *v)
{
    for (enum vol_hold h = VOL_HOLD_UNKNOWN; h <= VOL_HOLD_SHARED; h++) {
        if (str_eq(vol_hold_name(h), v)) {
            return h;
        }
    }
    fail_msg("not a hold: %s", v);
    return VOL_HOLD_UNKNOWN;
}

static enum sig_blank blank(const char *v)
{
    for (enum sig_blank b = SIG_UNKNOWN; b <= SIG_FOREIGN; b++) {
        if (str_eq(sig_blank_name(b), v)) {
            return b;
        }
    }
    fail_msg("not a content: %s", v);
    return SIG_UNKNOWN;
}

struct key {
    const char *name;
    char type; /* b bool, t tri, s size, x text, h hold, c content, y first character */
    void *at;
};

static void set(const struct key *keys, size_t n, const char *name, const char *v)
{
    for (size_t i = 0; i < n; i++) {
        const struct key *k = &keys[i];

        if (!str_eq(k->name, name)) {
            continue;
        }
        switch (k->type) {
        case 'b':
            *(bool *)k->at = str_eq(v, "yes");
            return;
        case 't':
            *(enum lvm_tri *)k->at = tri(v);
            return;
        case 's':
            *(uint64_t *)k->at = size(v);
            return;
        case 'x':
            *(const char **)k->at = v;
            return;
        case 'h':
            *(enum vol_hold *)k->at = hold(v);
            return;
        case 'c':
            *(enum sig_blank *)k->at = blank(v);
            return;
        case 'y':
            *(char *)k->at = v[0];
            return;
        default:
            fail();
        }
    }
    fail_msg("unknown key: %s", name);
}

static void set_want(struct world *w, const char *name, const char *v)
{
    const struct key group[] = {
        { "exists", 'b', &w->gw.exists },  { "initialise", 'b', &w->gw.initialise },
        { "paused", 'b', &w->gw.paused },  { "uuid", 'x', &w->gw.uuid },
        { "lock", 'b', &w->gw.meta_lock },
    };
    const struct key volume[] = {
        { "exists", 'b', &w->vw.exists },  { "remove", 'b', &w->vw.remove },
        { "paused", 'b', &w->vw.paused },  { "create", 'b', &w->vw.create },
        { "use", 'b', &w->vw.use },        { "size", 's', &w->vw.size },
        { "hold", 'h', &w->vw.hold },      { "lease", 'b', &w->vw.lease },
        { "lock", 'b', &w->vw.meta_lock },
    };

    if (w->is_group) {
        set(group, ARRAY_LEN(group), name, v);
    } else {
        set(volume, ARRAY_LEN(volume), name, v);
    }
}

static void set_have(struct world *w, const char *name, const char *v)
{
    const struct key group[] = {
        { "present", 't', &w->gh.present }, { "same", 's', &w->gh.same_name },
        { "uuid", 'x', &w->gh.uuid },       { "pvs", 's', &w->gh.pvs },
        { "missing", 's', &w->gh.missing }, { "exported", 'b', &w->gh.exported },
        { "shared", 'b', &w->gh.shared },   { "writable", 'b', &w->gh.writable },
    };
    const struct key volume[] = {
        { "group", 't', &w->vh.group },        { "present", 't', &w->vh.present },
        { "type", 'y', &w->vh.type },          { "size", 's', &w->vh.size },
        { "active", 't', &w->vh.active },      { "open", 's', &w->vh.open },
        { "mapped", 's', &w->vh.active_size }, { "lost", 'b', &w->vh.paths_lost },
    };

    if (w->is_group) {
        set(group, ARRAY_LEN(group), name, v);
    } else {
        set(volume, ARRAY_LEN(volume), name, v);
    }
}

static void set_disk(struct world *w, const char *name, const char *v)
{
    struct vg_disk *d = &w->disks[w->gw.n_disks - 1];
    const struct key keys[] = {
        { "lun", 'x', &d->lun },        { "ready", 't', &d->ready },
        { "blank", 'c', &d->blank },    { "what", 'x', &d->what },
        { "vg", 'x', &d->vg },          { "vguuid", 'x', &d->vg_uuid },
        { "pvsize", 's', &d->pv_size }, { "devsize", 's', &d->dev_size },
    };

    set(keys, ARRAY_LEN(keys), name, v);
    d->device = arena_printf(&w->a, "/dev/mapper/%s", d->lun);
}

static void read_line(struct world *w, char *line)
{
    char *save = NULL;
    char *what = strtok_r(line, " ", &save);

    if (str_eq(what, "disk")) {
        assert_true(w->gw.n_disks < DISKS_MAX);
        w->disks[w->gw.n_disks++] = (struct vg_disk){
            .ready = LVM_YES, .blank = SIG_EMPTY, .what = "", .vg = "", .vg_uuid = ""
        };
    }
    for (char *kv = strtok_r(NULL, " ", &save); kv != NULL; kv = strtok_r(NULL, " ", &save)) {
        char *eq = strchr(kv, '=');

        assert_non_null(eq);
        *eq = '\0';
        for (char *p = eq + 1; *p != '\0'; p++) {
            *p = *p == '_' ? ' ' : *p;
        }
        if (str_eq(what, "want")) {
            set_want(w, kv, eq + 1);
        } else if (str_eq(what, "have")) {
            set_have(w, kv, eq + 1);
        } else if (str_eq(what, "disk")) {
            set_disk(w, kv, eq + 1);
        } else {
            fail_msg("unknown line: %s", what);
        }
    }
}

/* What holds for every plan, whatever its case says. */
static void check_rules(const struct world *w, const struct st_plan *p)
{
    bool lock = w->is_group ? w->gw.meta_lock : w->vw.meta_lock;
    enum vol_hold h = w->vw.hold;

    assert_non_null(p->reason);
    assert_true(p->reason[0] != '\0');
    for (size_t i = 0; i < p->n_steps; i++) {
        enum st_step_kind k = p->steps[i].kind;

        if (k == ST_VG_CREATE || k == ST_VG_EXTEND || k == ST_PV_RESIZE || k == ST_VOL_CREATE ||
            k == ST_VOL_GROW || k == ST_VOL_REMOVE) {
            assert_true(lock);
        }
        if (k == ST_VOL_ACTIVATE) {
            assert_true(w->vw.lease);
            assert_true(h == VOL_HOLD_HERE || h == VOL_HOLD_PEER || h == VOL_HOLD_SHARED);
        }
        if (k == ST_VOL_WIPE_TABLE) {
            assert_true(h == VOL_HOLD_OTHER);
        }
        if (k == ST_VOL_DEACTIVATE) {
            assert_true(w->vh.open == 0);
        }
    }
    if (p->state == ST_UNKNOWN) {
        assert_int_equal(p->n_steps, 0);
    }
}

static void plan(struct world *w, struct buf *out)
{
    struct st_plan p;

    if (w->is_group) {
        vg_plan(&w->gw, &w->gh, &w->a, &p);
    } else {
        vol_plan(&w->vw, &w->vh, &w->a, &p);
    }
    check_rules(w, &p);
    st_plan_print(&p, out);
}

/* Everything of the file with the plans made anew. */
static void replay(char *text, bool is_group, struct buf *out)
{
    struct world w;
    bool in_plan = false;
    char *save = NULL;

    world_init(&w, is_group);
    for (char *line = strtok_r(text, "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save)) {
        if (str_starts(line, "==")) {
            arena_done(&w.a);
            world_init(&w, is_group);
            in_plan = false;
            buf_printf(out, "%s%s\n", out->len > 0 ? "\n" : "", line);
        } else if (str_eq(line, "->")) {
            buf_add_str(out, "->\n");
            plan(&w, out);
            in_plan = true;
        } else if (!in_plan) {
            buf_printf(out, "%s\n", line);
            read_line(&w, line);
        }
    }
    arena_done(&w.a);
}

static char *slurp(const char *path)
{
    struct buf b = { 0 };
    char part[4096];
    size_t n;
    FILE *f = fopen(path, "r");

    if (f == NULL) {
        fail_msg("cannot read %s", path);
        return NULL;
    }
    while ((n = fread(part, 1, sizeof(part), f)) > 0) {
        buf_add(&b, part, n);
    }
    (void)fclose(f);
    return buf_take(&b, NULL);
}

static void check_file(const char *path, bool is_group)
{
    char *was = slurp(path);
    char *work = mem_strdup(was);
    const char *mode = getenv("PICKET_GOLDEN");
    struct buf out = { 0 };

    replay(work, is_group, &out);
    if (str_eq(mode, "write")) {
        FILE *f = fopen(path, "w");

        assert_non_null(f);
        assert_int_equal(fwrite(out.data, 1, out.len, f), out.len);
        assert_int_equal(fclose(f), 0);
    } else {
        assert_string_equal(buf_cstr(&out), was);
    }
    buf_done(&out);
    free(work);
    free(was);
}

static void groups(void **state)
{
    (void)state;
    check_file("tests/golden/storage/group.plan", true);
}

static void volumes(void **state)
{
    (void)state;
    check_file("tests/golden/storage/volume.plan", false);
}

/* Every combination of the facts that decide, against the rules above. */
static void no_combination_breaks_the_rules(void **state)
{
    struct buf out = { 0 };
    unsigned n = 0;

    (void)state;
    for (unsigned bits = 0; bits < 1U << 9; bits++) {
        for (unsigned k = 0; k < 6 * 3 * 3 * 3; k++) {
            struct world w;

            world_init(&w, false);
            w.vw.exists = (bits & 1) != 0;
            w.vw.remove = (bits & 2) != 0;
            w.vw.create = (bits & 4) != 0;
            w.vw.use = (bits & 8) != 0;
            w.vw.lease = (bits & 16) != 0;
            w.vw.meta_lock = (bits & 32) != 0;
            w.vw.size = (bits & 64) != 0 ? 100 << 20 : 1 << 20;
            w.vh.open = (bits & 128) != 0 ? 1 : 0;
            w.vh.paths_lost = (bits & 256) != 0;
            w.vw.hold = (enum vol_hold)(k % 6);
            w.vh.group = (enum lvm_tri)(k / 6 % 3);
            w.vh.present = (enum lvm_tri)(k / 18 % 3);
            w.vh.active = (enum lvm_tri)(k / 54);
            plan(&w, &out);
            buf_clear(&out);
            arena_done(&w.a);
            n++;
        }
    }
    assert_int_equal(n, 512 * 162);
    buf_done(&out);
}

static void rounds_up_to_extents(void **state)
{
    (void)state;
    assert_int_equal(st_round_up(0, 4), 0);
    assert_int_equal(st_round_up(1, 4), 4);
    assert_int_equal(st_round_up(4, 4), 4);
    assert_true(st_round_up(UINT64_MAX - 1, 4096) == UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(groups),
        cmocka_unit_test(volumes),
        cmocka_unit_test(no_combination_breaks_the_rules),
        cmocka_unit_test(rounds_up_to_extents),
    };

    return cmocka_run_group_tests_name("storage_plan", tests, NULL, NULL);
}
