#!/usr/bin/env python3
"""Live migration on real processes: the guest's memory goes from agent to agent over TLS, its disk shows who wrote when.
Nothing is started anew; whoever dies on the way, the guest runs once."""

import os
import re
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import chaos_test as chaos  # noqa: E402
import cluster as dev  # noqa: E402

SLOW = "128Ki"  # a guest takes 1 MiB along: 8 s


def sequences(c, vm):
    """[(host, seq)] of the guest's lines, in the order of its disk."""
    out = []
    for disk in os.listdir(os.path.join(c.dir, "san", "vg0")):
        if disk.startswith(vm + "-"):
            with open(os.path.join(c.dir, "san", "vg0", disk), "rb") as f:
                for line in dev.written(f).split(b"\n"):
                    m = re.match(rb"\d+ \d+ (\S+) \S+ \d+ \d+ (\d+) \d+", line.strip(b"\0 "))
                    if m:
                        out.append((m.group(1).decode(), int(m.group(2))))
    return out


def check_continuous(c, vm, starts=1):
    """Every line is the one before plus one, whatever the host; a start begins at 1."""
    lines = sequences(c, vm)
    begun = sum(1 for _, seq in lines if seq == 1)
    dev.check(begun == starts, "%s was started %d times, not %d" % (vm, begun, starts))
    for (h1, a), (h2, b) in zip(lines, lines[1:]):
        dev.check(b == a + 1 or b == 1, "%s: line %d of %s after line %d of %s" % (vm, b, h2, a, h1))


def newest(c, vm):
    mine = [m for m in c.items("migrations") if m["spec"]["vm"] == vm]
    return max(mine, key=lambda m: int(m["metadata"]["resourceVersion"].split("-")[-1]))


def settle(c, vm):
    """Its migration is over; the newest one."""
    return c.wait("the migration of %s is over" % vm, lambda: newest(c, vm) if newest(c, vm).get("status", {}).get(
        "phase") in ("Succeeded", "Failed", "Canceled") else None, 60)


def other(c, *not_these):
    return next(h for h in chaos.HOSTS if h not in not_these)


def phase_is(c, vm, *phases):
    return newest(c, vm).get("status", {}).get("phase") in phases


def there_and_back(c):
    home = c.host_of("vm1")
    target = other(c, home)
    p = c.run("migrate", "vm1", target, "--live")
    dev.check("migrated to " + target in p.stdout, p.stdout)
    st = newest(c, "vm1")["status"]
    dev.check(st["method"] == "Live" and st["downtimeMs"] > 0, "%s" % st)
    dev.check([j["phase"] for j in st["journal"]] == ["Preparing", "Running", "Committing", "Succeeded"], "%s" % st["journal"])
    dev.check("Succeeded" in c.run("get", "migrations").stdout, "get migrations")
    dev.check("Committing" in c.run("describe", "migration", newest(c, "vm1")["metadata"]["name"]).stdout, "describe")
    print("downtime %d ms" % st["downtimeMs"])
    c.run("migrate", "vm1", "--to", home)
    dev.check(c.host_of("vm1") == home, "not back home")
    check_continuous(c, "vm1")


def refusals(c):
    p = c.run("migrate", "nope", check_rc=False)
    dev.check(p.returncode != 0 and "nope" in p.stderr and "not found" in p.stderr.lower(), "%s%s" % (p.stdout, p.stderr))
    p = c.run("migrate", "vm1", "nowhere", check_rc=False)
    dev.check(p.returncode != 0 and "nowhere" in p.stderr, "%s%s" % (p.stdout, p.stderr))
    dev.check(len(c.items("migrations")) == 0, "a Migration was made")


def kill_agent_of(c, which):
    home = c.host_of("vm2")
    target = other(c, home)
    c.run("migrate", "vm2", target, "--live", "--bandwidth", SLOW, "--no-wait")
    c.wait("it is being sent", lambda: phase_is(c, "vm2", "Running"), 20)
    time.sleep(2)
    c.dev("kill", home if which == "source" else target, "picket-agent")
    st = settle(c, "vm2")["status"]
    dev.check(st["phase"] == "Failed", "%s" % st)
    c.wait_hosts()
    c.wait("it runs at home", lambda: c.phase("vm2") == "Running" and c.host_of("vm2") == home, 30)
    c.run("migrate", "vm2", target, "--live")
    check_continuous(c, "vm2")


def power_cut_of(c, which):
    home = c.host_of("vm3")
    target = other(c, home)
    before = sum(1 for _, s in sequences(c, "vm3") if s == 1)
    c.run("migrate", "vm3", target, "--live", "--bandwidth", SLOW, "--no-wait")
    c.wait("it is being sent", lambda: phase_is(c, "vm3", "Running"), 20)
    time.sleep(2)
    victim = home if which == "source" else target
    c.dev("power", victim, "off")
    dev.check(settle(c, "vm3")["status"]["phase"] == "Failed", "%s" % newest(c, "vm3"))
    c.wait("it runs on a host that lives", lambda: c.phase("vm3") == "Running" and c.host_of("vm3") != victim, 60)
    dev.check(which == "source" or c.host_of("vm3") == home, "it left its home")
    check_continuous(c, "vm3", before + (1 if which == "source" else 0))
    c.dev("power", victim, "on")
    c.wait_hosts()


def drain(c):
    home = c.host_of("vm1")
    c.run("drain", home, timeout=90)
    dev.check(all(c.host_of(v) != home for v in ("vm1", "vm2", "vm3")), "somebody is still there")
    causes = [m for m in c.items("migrations") if m["spec"].get("cause") == "HostMaintenance"]
    dev.check(causes and all(m["status"]["method"] == "Live" for m in causes), "%s" % causes)
    c.run("uncordon", home)


def test():
    with dev.Cluster(3) as c:
        c.wait("a quorum", lambda: c.run("get", "clusters", check_rc=False).returncode == 0, 30)
        hosts = "".join(chaos.HOST % (h, i + 1, i + 1, i + 1) for i, h in enumerate(chaos.HOSTS))
        c.apply(chaos.BASE % "Off" + hosts + "".join(chaos.VM % (vm, "256Mi", "Running", 0) for vm in ("vm1", "vm2", "vm3")))
        c.wait_hosts()
        c.wait_running("vm1", "vm2", "vm3")
        refusals(c)
        there_and_back(c)
        kill_agent_of(c, "source")
        kill_agent_of(c, "target")
        drain(c)
        power_cut_of(c, "target")
        power_cut_of(c, "source")
        c.check_single_writer()


dev.main(test)
