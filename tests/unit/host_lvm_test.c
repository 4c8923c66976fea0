/* Volumes of a host whose lvm and dmsetup are scripts: what is run, in which order, and what holds
 * it back. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"
#include "reconciler/host_lvm.h"

struct bench {
    uv_loop_t loop;
    char dir[64];
    struct xen_storage *s;
    bool usable;
    const char *dark; /* a map without paths, or NULL */
    struct drv_job job;
    int calls;
    enum err_code code;
    char msg[512];
    uint64_t size;
    enum vol_state event;
};

static void script(const struct bench *b, const char *name, const char *body)
{
    char *path = mem_printf("%s/%s", b->dir, name);
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_true(fprintf(f, "#!/bin/sh\nD=%s\necho \"%s $*\" >>$D/calls\n%s\n", b->dir, name, body) >
                0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(path, 0755), 0);
    free(path);
}

/* The commands so far, one a line, and forgotten. */
static char *taken(struct bench *b)
{
    char *path = mem_printf("%s/calls", b->dir);
    FILE *f = fopen(path, "r");
    char *text = mem_alloc(4096);
    size_t n = f == NULL ? 0 : fread(text, 1, 4095, f);

    text[n] = '\0';
    if (f != NULL) {
        (void)fclose(f);
    }
    (void)unlink(path);
    free(path);
    return text;
}

static bool usable(void *ctx, const char *group)
{
    assert_string_equal(group, "vg0");
    return ((struct bench *)ctx)->usable;
}

static size_t dark(void *ctx, const char *group, const char **dst, size_t max)
{
    struct bench *b = ctx;

    assert_string_equal(group, "vg0");
    assert_true(max > 0);
    dst[0] = b->dark;
    return b->dark != NULL;
}

static void on_event(void *data, const struct drv_event *ev)
{
    ((struct bench *)data)->event = ev->volume->state;
}

static int setup(void **state)
{
    struct bench *b = OBJ_NEW(struct bench);

    (void)signal(SIGPIPE, SIG_IGN);
    (void)str_copy(b->dir, sizeof(b->dir), "/tmp/picket-hl-XXXXXX");
    assert_non_null(mkdtemp(b->dir));
    script(b, "lvm",
           "case $1 in lvs) echo "
           "'{\"report\":[{\"lv\":[{\"lv_uuid\":\"l1\",\"lv_name\":\"v\",\"vg_uuid\":\"u1\","
           "\"vg_name\":\"vg0\",\"lv_size\":\"4194304\",\"lv_attr\":\"-wi-a-----\",\"lv_active\":"
           "\"active\",\"lv_device_open\":\"\"}]}]}';; esac");
    script(b, "dmsetup", "");
    assert_int_equal(uv_loop_init(&b->loop), 0);
    b->usable = true;
    b->s = host_lvm_new(&b->loop);
    b->s->on_event = on_event;
    b->s->on_event_data = b;
    host_lvm_programs(b->s, b->dir);
    host_lvm_below(b->s, &(struct host_lvm_below){ .usable = usable, .dark = dark, .ctx = b });
    *state = b;
    return 0;
}

static void on_closed(void *ctx)
{
    *(bool *)ctx = true;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    char *cmd = mem_printf("rm -rf %s", b->dir);
    bool closed = false;

    b->s->ops->close(b->s, on_closed, &closed);
    (void)uv_run(&b->loop, UV_RUN_DEFAULT);
    assert_true(closed);
    assert_int_equal(uv_loop_close(&b->loop), 0);
    assert_int_equal(system(cmd), 0);
    free(cmd);
    free(b);
    return 0;
}

static void on_done(struct drv_job *job, const struct err *err)
{
    struct bench *b = job->data;

    b->calls++;
    b->code = err == NULL ? 0 : err->code;
    (void)snprintf(b->msg, sizeof(b->msg), "%s", err == NULL ? "" : err->msg);
    b->size = job->result.n_volumes > 0 ? job->result.volumes[0].size_bytes : 0;
}

static void submit(struct bench *b, enum drv_op op, bool wipe, uint64_t size, uint64_t ms)
{
    b->calls = 0;
    b->event = VOL_UNKNOWN;
    b->job = (struct drv_job){ .magic = DRV_JOB_MAGIC,
                               .op = op,
                               .group = "vg0",
                               .volume = "v",
                               .wipe = wipe,
                               .size_bytes = size,
                               .deadline_ms = clock_now_ms() + ms,
                               .cb = on_done,
                               .data = b };
    b->s->ops->submit(b->s, &b->job);
    assert_int_equal(b->calls, 0);
}

static void run(struct bench *b, enum drv_op op, bool wipe, uint64_t size)
{
    submit(b, op, wipe, size, 30000);
    while (b->calls == 0) {
        (void)uv_run(&b->loop, UV_RUN_ONCE);
    }
    assert_int_equal(b->calls, 1);
}

static void grows(void **state)
{
    struct bench *b = *state;
    char *text;

    run(b, DRV_VOL_GROW, false, 8388608);
    text = taken(b);
    assert_int_equal(b->code, 0);
    assert_int_equal(b->event, VOL_ACTIVE);
    assert_non_null(strstr(text, "lvm lvextend "));
    assert_non_null(strstr(text, "--size 8388608b vg0/v\n"));
    free(text);
    run(b, DRV_ENUM_VOLUMES, false, 0);
    assert_int_equal(b->size, 4194304);
}

/* Where only registrants may write, nothing begins before this host is one. */
static void waits_for_its_reservations(void **state)
{
    static const enum drv_op ops[] = { DRV_VOL_CREATE, DRV_VOL_GROW, DRV_VOL_ACTIVATE };
    struct bench *b = *state;
    char *text;

    b->usable = false;
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        run(b, ops[i], false, 8388608);
        assert_int_equal(b->code, ERR_DRIVER);
        assert_non_null(strstr(b->msg, "reservations"));
    }
    run(b, DRV_VOL_DEACTIVATE, false, 0); /* leaving is always allowed */
    assert_int_equal(b->code, 0);
    text = taken(b);
    assert_string_equal(text, "dmsetup remove vg0-v\n");
    free(text);
}

/* What waits for a path would hold up the removal for ever. */
static void dark_maps_fail_first(void **state)
{
    struct bench *b = *state;
    char *text;

    b->dark = "3600a";
    run(b, DRV_VOL_DEACTIVATE, false, 0);
    text = taken(b);
    assert_int_equal(b->code, 0);
    assert_int_equal(b->event, VOL_INACTIVE);
    assert_string_equal(text, "dmsetup message 3600a 0 fail_if_no_path\ndmsetup remove vg0-v\n");
    free(text);
    run(b, DRV_VOL_ACTIVATE, false, 0); /* only then */
    text = taken(b);
    assert_null(strstr(text, "fail_if_no_path"));
    free(text);
}

static void last_resort(void **state)
{
    struct bench *b = *state;
    char *text;

    run(b, DRV_VOL_DEACTIVATE, true, 0);
    text = taken(b);
    assert_int_equal(b->code, 0);
    assert_int_equal(b->event, VOL_ACTIVE); /* it is there until its opener goes */
    assert_string_equal(text, "dmsetup wipe_table --noflush --nolockfs vg0-v\n");
    free(text);
}

static void other_done(struct drv_job *job, const struct err *err)
{
    *(int *)job->data = err == NULL ? 1 : -1;
}

/* An lvs that never ends is given up at its deadline, and nothing else waits for it. */
static void a_hung_look_holds_up_nobody(void **state)
{
    struct bench *b = *state;
    int other = 0;
    struct drv_job job = { .magic = DRV_JOB_MAGIC,
                           .op = DRV_VOL_DEACTIVATE,
                           .group = "vg0",
                           .volume = "v",
                           .deadline_ms = clock_now_ms() + 30000,
                           .cb = other_done,
                           .data = &other };

    script(b, "lvm", "[ $1 = lvs ] && exec sleep 100");
    submit(b, DRV_ENUM_VOLUMES, false, 0, 4000);
    b->s->ops->submit(b->s, &job);
    while (other == 0) {
        (void)uv_run(&b->loop, UV_RUN_ONCE);
    }
    assert_int_equal(other, 1);
    assert_int_equal(b->calls, 0); /* the look still hangs */
    while (b->calls == 0) {
        (void)uv_run(&b->loop, UV_RUN_ONCE);
    }
    assert_int_equal(b->code, ERR_DRIVER);
    assert_non_null(strstr(b->msg, "lvm"));
}

static unsigned told;

static void on_told(void *data, const struct drv_event *ev)
{
    (void)data;
    assert_int_equal(ev->kind, DRV_EV_VOLUME);
    assert_int_equal(ev->volume->state, VOL_ACTIVE);
    if (str_eq(ev->volume->group, "vg-a") && str_eq(ev->volume->name, "v1")) {
        assert_true(ev->volume->open);
        told |= 1;
    } else {
        assert_string_equal(ev->volume->group, "vg0");
        assert_string_equal(ev->volume->name, "web-root");
        assert_false(ev->volume->open);
        told |= 2;
    }
}

/* LVM that cannot read its disks, or hangs with them: what is active is told by device-mapper. */
static void a_failed_look_tells_what_is_active(void **state)
{
#define U64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
    struct bench *b = *state;
    char *text;

    told = 0;
    b->s->on_event = on_told;
    script(b, "dmsetup",
           "echo 'LVM-" U64 "|253|0|1|Active|Writeable|Live|vg--a-v1'\n"
           "echo 'LVM-" U64 "|253|1|0|Active|Writeable|Live|vg0-web--root'\n"
           "echo 'LVM-" U64 "-real|253|2|1|Active|Writeable|Live|vg0-web--root-real'\n"
           "echo 'mpath-3600|253|3|1|Active|Writeable|Live|3600'");
    script(b, "lvm", "echo 'read failed' >&2; exit 5");
    run(b, DRV_ENUM_VOLUMES, false, 0);
    assert_int_equal(b->code, ERR_DRIVER);
    assert_non_null(strstr(b->msg, "read failed"));
    assert_int_equal(told, 3);
    assert_true(b->job.result.active_told);
    assert_int_equal(b->job.result.n_volumes, 0);
    told = 0;
    script(b, "lvm", "exec sleep 100");
    submit(b, DRV_ENUM_VOLUMES, false, 0, 7000);
    while (b->calls == 0) {
        (void)uv_run(&b->loop, UV_RUN_ONCE);
    }
    assert_int_equal(told, 3);
    told = 0; /* and when that fails too, nothing is claimed */
    script(b, "lvm", "exit 5");
    script(b, "dmsetup", "exit 1");
    run(b, DRV_ENUM_VOLUMES, false, 0);
    assert_int_equal(b->code, ERR_DRIVER);
    assert_int_equal(told, 0);
    assert_false(b->job.result.active_told);
    text = taken(b);
    assert_non_null(strstr(text, "dmsetup info"));
    free(text);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(grows),
        TEST(waits_for_its_reservations),
        TEST(dark_maps_fail_first),
        TEST(last_resort),
        TEST(a_hung_look_holds_up_nobody),
        TEST(a_failed_look_tells_what_is_active),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
