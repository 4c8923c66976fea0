#!/usr/bin/env python3
"""make demo: three hosts on this machine agree, start the virtual machines of the book's cluster, lose a host
to a power cut and another one to a network cut, and get their machines back.  Nothing leaves loopback."""

import os
import shutil
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "dev"))
import cluster as dev  # noqa: E402

BOOK = os.path.join(dev.ROOT, "examples", "book-cluster.yaml")
STEPS = [
    # (what to call it, pattern in the logs; {h} is the dead host, {vm} the machine)
    ("lease lost (detected)", r"picketd/ctl host={h} .*do=mark-lost"),
    ("fencing opened", r"picketd/ctl host={h} .*do=fence-open"),
    ("attempt, level by level", r"picketd/ctl host={h} .*do=fence-attempt"),
    ("what a device read back", r"picketd/exec host={h} "),
    ("proof: locks released", r"picketd/ctl host={h} .*do=proof"),
]


def say(text=""):
    print(text, flush=True)


def title(text):
    say("\n== %s" % text)


def timeline(c, t0, host, vms):
    """Print what happened after t0, in milliseconds."""
    events = []
    for name, pattern in STEPS:
        for t, where, text in c.log_lines(pattern.format(h=host), since=t0):
            detail = text.split(" ", 1)[1] if " " in text else text
            events.append((t, "%-26s %s: %s" % (name, where, detail[:110])))
    for vm in vms:
        first = first_line(c, vm, t0, host)
        if first:
            events.append((first[0], "%-26s %s writes on %s (incarnation %d)" % ("running again", vm, first[1],
                                                                                first[2])))
    for t, text in sorted(events):
        say("  %+8.0f ms  %s" % ((t - t0) * 1000, text))


def first_line(c, vm, t0, not_host):
    best = None
    for lines in c.writers().values():
        for t, host, name, inc, _ in lines:
            if name == vm and t >= t0 and host != not_host and (best is None or t < best[0]):
                best = (t, host, inc)
    return best


def summary(c, t0, host, vms):
    lost = c.log_lines(STEPS[0][1].format(h=host), since=t0)
    proof = c.log_lines(STEPS[4][1].format(h=host), since=t0)
    back = [first_line(c, vm, t0, host) for vm in vms]
    if lost and proof and all(back):
        last = max(b[0] for b in back)
        say("  detection %.2f s, fencing %.2f s, restart after fencing %.2f s, all together %.2f s" %
            (lost[0][0] - t0, proof[-1][0] - lost[0][0], last - proof[-1][0], last - t0))


def lose(c, how, host, vms):
    """Lose a host, wait until its machines run elsewhere."""
    say("  %s runs %s" % (host, ", ".join(vms)))
    t0 = dev.now()
    how(host)
    for vm in vms:
        c.wait("%s back on another host" % vm, lambda: first_line(c, vm, t0, host), seconds=60, every=0.2)
    c.wait_running(*vms)
    timeline(c, t0, host, vms)
    summary(c, t0, host, vms)


def machines_on(c, host):
    return [i["metadata"]["name"] for i in c.items("vm") if i.get("status", {}).get("host") == host]


def run(c):
    began = time.monotonic()
    title("three hosts, each with picketd, picket-agent and picket-watchdog, and a PDU that speaks SNMP")
    c.dev("status")
    title("picket apply -f examples/book-cluster.yaml")
    c.wait("a quorum", lambda: c.run("get", "clusters", check_rc=False).returncode == 0, 30)
    say(c.apply(path=BOOK).stdout.rstrip())
    c.wait_hosts()
    c.wait_running("vm1", "vm2")
    say()
    say(c.run("status").stdout.rstrip())
    grace = 20.0 - (time.monotonic() - began)
    if grace > 0:
        say("\n  (the book's startupGrace is 20 s: until then nobody is fenced; %.0f s left)" % grace)
        time.sleep(grace)

    title("a power cut")
    host = c.host_of("vm1")
    lose(c, lambda h: c.dev("power", h, "off"), host, machines_on(c, host))
    say("\n  power comes back")
    c.dev("power", host, "on")
    c.wait_hosts()

    title("a network cut: the host lives on, but nobody hears it")
    host = c.host_of("vm1")
    lose(c, lambda h: c.dev("cut", h), host, machines_on(c, host))
    c.dev("heal", host)
    c.dev("power", host, "on", check_rc=False)
    c.wait_hosts()

    title("in the end")
    say(c.run("get", "hosts,vm,fencings").stdout.rstrip())
    lines = c.check_single_writer()
    say("\n  %d lines in the guests' disk files: no two hosts ever wrote to one disk at the same time" % lines)
    say("  whole demo: %.0f s" % (time.monotonic() - began))


def main():
    folder = os.path.join(dev.ROOT, "build", "demo")
    c = dev.Cluster(3, folder=folder, keep=True)
    c.down()
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    try:
        with c:
            run(c)
    except dev.Failed as e:
        sys.stderr.write("\nThe demo failed: %s\nlogs: %s/hosts/*/log\n" % (e, folder))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
