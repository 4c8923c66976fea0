/* How long the controllers hold up the leader's loop: ctl_bench [HOSTS VMS]; default 64 5000.
 *
 * The store and the controllers are real, Raft is not: a transaction is applied at once, inside the
 * turn that submits it.  Printed for each phase: turns, transactions, the longest turn, CPU time.
 * `make bench-ctl`; exit 1 when a turn took longer than CTL_BENCH_MS (default 50). */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api/valid.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/capacity.h"
#include "cmd/picketd/ctl_priv.h"
#include "cmd/picketd/world_priv.h"
#include "tests/ctl/fake_node.h"

static uint64_t worst_of_all;

static uint64_t cpu_us(void)
{
    return (uint64_t)clock() * 1000000 / CLOCKS_PER_SEC;
}

struct phase {
    struct fake *f;
    uint64_t cpu, writes, turns;
};

static struct phase begin(struct fake *f)
{
    f->worst_us = 0;
    return (struct phase){ .f = f, .cpu = cpu_us(), .writes = f->writes, .turns = f->turns };
}

static void end(const struct phase *p, const char *what)
{
    const struct fake *f = p->f;

    printf("%-44s %6" PRIu64 " turns %6" PRIu64 " txns  longest %6.1f ms  cpu %7.0f ms\n", what,
           f->turns - p->turns, f->writes - p->writes, (double)f->worst_us / 1000,
           (double)(cpu_us() - p->cpu) / 1000);
    (void)fflush(stdout);
    worst_of_all = f->worst_us > worst_of_all ? f->worst_us : worst_of_all;
}

static void put_vm(struct fake *f, unsigned i)
{
    char name[32];
    json_t *vm;

    (void)snprintf(name, sizeof(name), "vm%05u", i);
    vm = json_pack("{s:s, s:s, s:{s:s, s:{s:s}}, s:{s:s, s:i, s:s, s:[{s:s, s:s}]}}", "apiVersion",
                   API_VERSION, "kind", "VirtualMachine", "metadata", "name", name, "labels", "app",
                   i % 3 ? "web" : "db", "spec", "memory", "2Gi", "vcpus", 2, "virt", "HVM", "nics",
                   "name", "nic0", "bridge", "br0");
    jset(vm, "spec.disks",
         json_pack("[{s:s, s:s, s:s}]", "name", "root", "volumeGroup", "vg0", "size", "10Gi"));
    fake_put(f, vm);
}

static void put_simple(struct fake *f, const char *kind, const char *name)
{
    fake_put(f, json_pack("{s:s, s:s, s:{s:s}, s:{}}", "apiVersion", API_VERSION, "kind", kind,
                          "metadata", "name", name, "spec"));
}

/* What an agent does with a machine that it was given, at once. */
static void run_vm(struct fake *f, const char *vm)
{
    json_t *obj = fake_get(f, "virtualmachines", vm);
    const char *host = jget_str(obj, "status.assignedHost", "");

    if (*host != 0 && fake_acquire(f, host, vm) == 0) {
        fake_report(f, host, "virtualmachines", vm,
                    json_pack("{s:s, s:s, s:s, s:I, s:s, s:s}", "kind", "VirtualMachine", "name",
                              vm, "state", "Running", "incarnation",
                              (json_int_t)fake_incarnation(f, host), "reason", "", "message", ""));
    }
    json_decref(obj);
}

static void run_all(struct fake *f, unsigned vms)
{
    char name[32];

    for (unsigned i = 0; i < vms; i++) {
        (void)snprintf(name, sizeof(name), "vm%05u", i);
        run_vm(f, name);
    }
}

/* The proof comes from a person, as if it were a device. */
static void fence(struct fake *f, const char *host)
{
    struct cmd c = { .op = CMD_CONFIRM, .actor = { .role = ACTOR_ADMIN, .name = "admin" } };

    fake_lease(f, host, false);
    fake_settle(f);
    c.safety.host = host;
    c.safety.incarnation = fake_incarnation(f, host);
    c.safety.reason = "off";
    if (fake_cmd(f, &c) != 0) {
        (void)fprintf(stderr, "confirm: %s\n", f->last_msg);
        exit(2);
    }
}

static void what_if(struct fake *f)
{
    struct change ch = { .k = kind_find("VirtualMachine"), .name = "new" };
    struct problems ps = { 0 };
    uint64_t t = clock_now_us();
    struct err err;

    ch.stored = json_pack("{s:{s:s}}", "spec", "memory", "2Gi");
    if (capacity_admit(&f->n, &ch, 1, &ps, &err) != 0) {
        (void)fprintf(stderr, "admission: %s\n", err.msg);
    }
    t = clock_now_us() - t;
    printf("%-44s %37.1f ms\n", "admission of one machine", (double)t / 1000);
    problems_done(&ps);
    json_decref(ch.stored);
}

int main(int argc, char **argv)
{
    unsigned hosts = argc > 2 ? (unsigned)strtoul(argv[1], NULL, 10) : 64;
    unsigned vms = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 5000;
    const char *limit = getenv("CTL_BENCH_MS");
    uint64_t max_us = 1000 * (limit == NULL ? 50 : strtoull(limit, NULL, 10));
    struct fake *f = fake_new(1);
    struct phase p;
    char name[32], memory[32];

    lg_set_level(LG_ERR);
    (void)snprintf(memory, sizeof(memory), "%uGi", vms * 2 / hosts * 4 / 3 + 2);
    put_simple(f, "Bridge", "br0");
    put_simple(f, "VolumeGroup", "vg0");
    for (unsigned i = 0; i < hosts; i++) {
        (void)snprintf(name, sizeof(name), "host%02u", i);
        fake_host(f, name, memory, 64, i % 2 ? "r1" : "r2");
    }
    fake_settle(f);
    printf("%u hosts, %u machines, one core\n", hosts, vms);

    p = begin(f);
    for (unsigned i = 0; i < vms; i++) {
        put_vm(f, i);
    }
    fake_settle(f);
    end(&p, "all declared at once: volumes, placement");

    p = begin(f);
    run_all(f, vms);
    fake_settle(f);
    end(&p, "all locked and reported running");

    p = begin(f);
    for (unsigned i = 0; i < 100; i++) {
        controller_wake(f->n.ctl);
        fake_settle(f);
    }
    end(&p, "nothing to do, 100 times woken");

    p = begin(f);
    run_vm(f, "vm00007");
    fake_report(f, "host00", "virtualmachines", "vm00007", NULL);
    fake_settle(f);
    end(&p, "one report");

    p = begin(f);
    fence(f, "host03");
    fake_settle(f);
    end(&p, "a host lost and fenced, its machines replaced");

    p = begin(f);
    world_reload(f->n.ctl->world);
    fake_again(f);
    end(&p, "a new leader that loads everything first");

    p = begin(f);
    fake_again(f);
    end(&p, "a new leader");
    what_if(f);
    printf("longest turn of all: %.1f ms (limit %.0f)\n", (double)worst_of_all / 1000,
           (double)max_us / 1000);
    return worst_of_all > max_us ? 1 : 0;
}
