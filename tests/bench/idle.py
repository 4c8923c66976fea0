#!/usr/bin/env python3
"""What an idle cluster costs: CPU and memory of every process of three hosts that run 50 machines.

    idle.py [--seconds N] [--vms N]          PICKET_BIN_DIR names the build folder

CPU is in percent of one core over the whole window (utime + stime of /proc/PID/stat), memory is the resident set at
its end.  Goal: every picketd and picket-agent below 1 % and 40 MiB.
"""

import argparse
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "dev"))
import chaos_test as chaos  # noqa: E402
import cluster as dev  # noqa: E402

GOAL_CPU, GOAL_RSS = 1.0, 40.0
TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def used(pid):
    """(seconds of CPU, MiB resident)"""
    with open("/proc/%d/stat" % pid) as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK, int(fields[21]) * PAGE / 1048576.0


def processes(c):
    """[(host, process, pid)]"""
    found = []
    for h in dev.json.loads(c.dev("status", "-o", "json").stdout)["hosts"]:
        found += [(h["name"], p, pid) for p, pid in sorted(h["processes"].items()) if pid > 0]
    return found


def text(vms):
    hosts = "".join(chaos.HOST % (h, i + 1, i + 1, i + 1) for i, h in enumerate(chaos.HOSTS))
    return chaos.BASE % "Off" + hosts + "".join(chaos.VM % ("vm%d" % i, "256Mi", "Running", 0) for i in range(vms))


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--seconds", type=float, default=20)
    ap.add_argument("--vms", type=int, default=50)
    opts = ap.parse_args()
    over = 0
    with dev.Cluster(3) as c:
        c.wait("a quorum", lambda: c.run("get", "clusters", check_rc=False).returncode == 0, 30)
        c.apply(text(opts.vms))
        c.wait_hosts()
        c.wait_running(*["vm%d" % i for i in range(opts.vms)], seconds=120)
        time.sleep(5)
        leader = c.get("cluster", "cluster")["status"]["leader"]
        procs = processes(c)
        began, before = time.monotonic(), {pid: used(pid)[0] for _, _, pid in procs}
        time.sleep(opts.seconds)
        span = time.monotonic() - began
        print("%d machines, %.0f s, %s leads" % (opts.vms, span, leader))
        print("%-8s %-16s %8s %9s" % ("HOST", "PROCESS", "CPU %", "RSS MiB"))
        for host, process, pid in procs:
            cpu, rss = used(pid)
            cpu = 100 * (cpu - before[pid]) / span
            bad = cpu > GOAL_CPU or rss > GOAL_RSS
            over += bad
            print("%-8s %-16s %8.2f %9.1f%s" % (host, process, cpu, rss, "  above the goal" if bad else ""))
        c.check_single_writer()
    print("%d of %d processes above the goal of %.0f %% and %.0f MiB" % (over, len(procs), GOAL_CPU, GOAL_RSS))
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
