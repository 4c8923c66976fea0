#!/usr/bin/env python3
"""Hosts, leaders and agents that stand still for a while: shortly does nothing, for longer than a lease is a death."""

import os
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import chaos_test as chaos  # noqa: E402
import cluster as dev  # noqa: E402

VMS = ["vm0", "vm1", "vm2"]
SHORT = 0.3  # with a heartbeat before it and a moment after: far less than half of the 3 s


def process(c, host, name):
    for h in dev.json.loads(c.dev("status", "-o", "json").stdout)["hosts"]:
        if h["name"] == host:
            return h["processes"][name]
    raise dev.Failed("no process %s on %s" % (name, host))


def runs(c):
    """{vm: (host, token, since)}: another start of one has another token"""
    return {v["metadata"]["name"]: (v["status"].get("host"), v["status"].get("token"), v["status"].get("since"))
            for v in c.items("vm") if v["status"].get("phase") == "Running"}


def still(c, what, host, pause, go):
    """Nobody is fenced for it, and no guest is touched."""
    before, fencings = runs(c), len(c.items("fencings"))
    dev.check(len(before) == len(VMS), "not all run before %s: %s" % (what, before))
    pause()
    time.sleep(SHORT)
    go()
    time.sleep(5)  # longer than a lease and its expiry
    c.wait_hosts()
    dev.check(len(c.items("fencings")) == fencings, "%s: somebody was fenced" % what)
    dev.check(runs(c) == before, "%s (%s): guests were touched: %s, before %s" % (what, host, runs(c), before))
    print("%s of %s: nothing happened" % (what, host), flush=True)


def dead(c, what, host, pause, go):
    """Fenced, or reset by its watchdog before; its machines run under new tokens, and waking up does no harm."""
    tokens = {v: t for v, (h, t, _) in runs(c).items() if h == host}
    incarnation = c.get("host", host)["status"]["incarnation"]
    dev.check(tokens, "nothing runs on %s" % host)
    pause()

    def again():
        now = runs(c)
        return all(v in now and now[v][1] > t for v, t in tokens.items())

    c.wait("the machines of %s run again" % host, again, 60)
    go()
    c.dev("power", host, "on", check_rc=False)
    c.wait_hosts(seconds=60)
    c.wait_running(*VMS)
    dev.check(c.get("host", host)["status"]["incarnation"] > incarnation, "%s: the boot of %s goes on" % (what, host))
    c.check_single_writer()
    print("%s of %s: its boot is over, %d machines started again" % (what, host, len(tokens)), flush=True)


def test():
    with dev.Cluster(3) as c:
        c.wait("a quorum", lambda: c.run("get", "clusters", check_rc=False).returncode == 0, 30)
        hosts = "".join(chaos.HOST % (h, i + 1, i + 1, i + 1) for i, h in enumerate(chaos.HOSTS))
        c.apply(chaos.BASE % "Off" + hosts)
        c.wait_hosts()
        c.apply("".join(chaos.VM % (v, "256Mi", "Running", 0) for v in VMS))
        c.wait_running(*VMS)

        def leader():
            return c.get("cluster", "cluster")["status"]["leader"]

        def agent(host, sig):
            try:
                os.kill(process(c, host, "picket-agent"), sig)
            except (ProcessLookupError, KeyError):
                pass  # its host was fenced

        other = next(h for h in chaos.HOSTS if h != leader())
        still(c, "suspension", other, lambda: c.dev("wedge", other), lambda: c.dev("unwedge", other))
        lead = leader()
        still(c, "suspension of the leader", lead, lambda: c.dev("wedge", lead), lambda: c.dev("unwedge", lead))
        still(c, "stall of the agent", other, lambda: agent(other, signal.SIGSTOP), lambda: agent(other, signal.SIGCONT))

        busy = c.host_of("vm0")
        pid = process(c, busy, "picket-agent")

        def wake():
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                pass

        dead(c, "long stall of the agent", busy, lambda: os.kill(pid, signal.SIGSTOP), wake)
        busy = c.host_of("vm1")
        dead(c, "long suspension", busy, lambda: c.dev("wedge", busy), lambda: c.dev("unwedge", busy, check_rc=False))
        lead = leader()
        if any(h == lead for h, _, _ in runs(c).values()):
            dead(c, "long suspension of the leader", lead, lambda: c.dev("wedge", lead),
                 lambda: c.dev("unwedge", lead, check_rc=False))


dev.main(test)
