/* xen-poke: one job of the Xen driver on this dom0, without agent and cluster; for the lab and for
 * looking into trouble.
 *
 *   xen-poke list | capacity
 *   xen-poke OBJECT.json start|shutdown|destroy|pause|unpause|adjust
 *   xen-poke OBJECT.json send HOST IP:PORT | receive HOST IP:PORT | resume
 *
 * OBJECT.json is a VirtualMachine; disks with `path` only.  Prints what happens; exit status 0 when
 * the job succeeded.
 */

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/valid.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "reconciler/host_lvm.h"
#include "reconciler/xen_drv.h"

static const struct {
    const char *name;
    enum drv_op op;
} ops[] = {
    { "list", DRV_ENUM_DOMAINS },   { "capacity", DRV_CAPACITY }, { "start", DRV_START },
    { "shutdown", DRV_SHUTDOWN },   { "destroy", DRV_DESTROY },   { "pause", DRV_PAUSE },
    { "unpause", DRV_UNPAUSE },     { "adjust", DRV_ADJUST },     { "send", DRV_MIG_SUSPEND },
    { "receive", DRV_MIG_RECEIVE }, { "resume", DRV_MIG_RESUME },
};

struct poke {
    uv_loop_t loop;
    struct drv *drv;
    struct drv_job job;
    struct drv_disk disks[16];
    uv_timer_t timer;
    uint64_t began_ms;
    int code;
};

static void show(const char *what, const struct drv_domain *d)
{
    printf("%s %s %s %s id=%" PRId64 " uid=%s token=%" PRIu64 " memory=%" PRIu64 " target=%" PRIu64
           " vcpus=%u %s; %s\n",
           what, d->vm, dom_state_name(d->state), dom_reason_name(d->reason), d->id, d->uid,
           d->token, d->memory_bytes, d->memory_target_bytes, d->vcpus,
           d->console == NULL ? "" : d->console, d->detail == NULL ? "" : d->detail);
    (void)fflush(stdout);
}

static void on_event(void *data, const struct drv_event *ev)
{
    (void)data;
    if (ev->kind == DRV_EV_DOMAIN) {
        show("event", ev->domain);
    }
}

static void on_closed(void *ctx)
{
    struct poke *p = ctx;

    uv_close((uv_handle_t *)&p->timer, NULL);
}

static void on_done(struct drv_job *job, const struct err *err)
{
    struct poke *p = job->data;

    for (size_t i = 0; i < job->result.n_domains; i++) {
        show("domain", &job->result.domains[i]);
    }
    if (job->op == DRV_CAPACITY && err == NULL) {
        printf("%s memory=%" PRIu64 " free=%" PRIu64 " cpus=%" PRIu64 "\n",
               job->result.capacity.hypervisor, job->result.capacity.memory_bytes,
               job->result.capacity.memory_free_bytes, job->result.capacity.cpus);
    }
    p->code = err == NULL ? 0 : 1;
    printf("%s: %s in %" PRIu64 " ms%s%s\n", drv_op_name(job->op),
           err == NULL ? "done" : err_name(err->code), clock_now_ms() - p->began_ms,
           err == NULL ? "" : ": ", err == NULL ? "" : err->msg);
    if (job->result.suspended_ms != 0) {
        printf("suspended for %" PRIu64 " ms so far\n", clock_now_ms() - job->result.suspended_ms);
    }
    (void)fflush(stdout);
    drv_close(p->drv, on_closed, p);
}

static void on_deadline(uv_timer_t *t)
{
    struct poke *p = t->data;

    printf("deadline passed: aborting\n");
    drv_abort(p->drv, &p->job);
}

static void fill(struct poke *p, const json_t *object)
{
    const json_t *disks = jget(object, "spec.disks");

    p->job.vm = jget_str(object, "metadata.name", NULL);
    p->job.uid = jget_str(object, "metadata.uid", NULL);
    p->job.object = object;
    p->job.disks = p->disks;
    for (size_t i = 0; i < json_array_size(disks) && i < ARRAY_LEN(p->disks); i++) {
        const json_t *d = json_array_get(disks, i);

        p->disks[p->job.n_disks++] =
            (struct drv_disk){ .name = jget_str(d, "name", ""),
                               .target = jget_str(d, "target", "xvda"),
                               .path = jget_str(d, "path", jget_str(d, "cdrom.iso", NULL)),
                               .read_only = jget_bool(d, "readOnly", false) };
    }
}

static bool find_op(const char *name, enum drv_op *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        if (str_eq(ops[i].name, name)) {
            *ret = ops[i].op;
            return true;
        }
    }
    return false;
}

static int poke(struct poke *p)
{
    const char *tls = getenv("POKE_TLS"); /* folder with agent.crt, agent.key, ca.crt */
    char *crt = tls == NULL ? NULL : mem_printf("%s/agent.crt", tls);
    char *key = tls == NULL ? NULL : mem_printf("%s/agent.key", tls);
    char *ca = tls == NULL ? NULL : mem_printf("%s/ca.crt", tls);
    struct xen_drv_opts o = { .loop = &p->loop, .tls_cert = crt, .tls_key = key, .tls_ca = ca };
    struct err err;

    CHECK(uv_loop_init(&p->loop) == 0);
    o.storage = host_lvm_new(&p->loop);
    if (xen_drv_new(&o, &p->drv, &err) != 0) {
        (void)fprintf(stderr, "xen-poke: %s\n", err.msg);
        return 1;
    }
    drv_listen(p->drv, on_event, p);
    CHECK(uv_timer_init(&p->loop, &p->timer) == 0);
    p->timer.data = p;
    CHECK(uv_timer_start(&p->timer, on_deadline, 600000, 0) == 0);
    p->began_ms = clock_now_ms();
    p->job.deadline_ms = p->began_ms + 600000;
    p->job.not_after_ms = p->job.deadline_ms;
    drv_submit(p->drv, &p->job);
    (void)uv_run(&p->loop, UV_RUN_DEFAULT);
    free(crt);
    free(key);
    free(ca);
    return p->code;
}

int main(int argc, char **argv)
{
    static struct poke p;
    const char *rate = getenv("POKE_BANDWIDTH");
    json_t *object = NULL;
    int at = 1;

    lg_init("xen-poke");
    (void)signal(SIGPIPE, SIG_IGN);
    p.job = (struct drv_job){ .magic = DRV_JOB_MAGIC,
                              .incarnation = 1,
                              .token = 1,
                              .migration = "poke",
                              .cb = on_done,
                              .data = &p };
    if (argc > 2) {
        object = json_load_file(argv[at++], 0, NULL);
        if (object == NULL) {
            (void)fprintf(stderr, "xen-poke: %s is not JSON\n", argv[1]);
            return 2;
        }
        fill(&p, object);
    }
    if (at >= argc || !find_op(argv[at], &p.job.op)) {
        (void)fprintf(stderr, "usage: xen-poke [OBJECT.json] list|capacity|start|shutdown|...\n");
        return 2;
    }
    if (argc > at + 2) {
        p.job.peer = argv[at + 1];
        p.job.peer_address = argv[at + 2];
    }
    if (rate != NULL) {
        (void)str_parse_u64(rate, &p.job.bandwidth);
    }
    return poke(&p);
}
