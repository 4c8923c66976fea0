#!/usr/bin/env python3
"""The same failovers as failover.py on the simulator, in virtual time: what the design costs, without any machine under it.

    failover_sim.py [--runs N] [--vms N] [--timing 500ms/3s] [--out FILE]

One seed a run; latencies of network, disks, devices and starts are drawn from it (docs/simulation.md).  Phases from the story:

  detect   from the fault until the incarnation is Lost
  fence    until it is Fenced: decision, device and proof (`watchdog`: the watchdog's bound)
  start    until the last machine of the lost host runs elsewhere: placement, locks, volumes, starts
"""

import argparse
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "scenario"))
import engine  # noqa: E402
import lang  # noqa: E402
import sim  # noqa: E402

KINDS = (("power cut", "", "not leader", "power off victim"),
         ("network cut", "", "not leader", "cut victim"),
         ("wedged host", "", "not leader", "wedge victim"),
         ("power cut of the leader's host", "", "leader", "power off victim"),
         ("power cut, watchdog only", "fencing watchdog", "not leader", "power off victim"))
PHASES = ("detect", "fence", "start", "total")
LINE = re.compile(r" *(\d+\.\d+)  (.*)")


def story_of(kind, opts, seed):
    _, setup, victim, fault = kind
    vms = ["vm%d" % i for i in range(opts.vms)]
    text = "\n".join(["timing %s" % opts.timing.replace("/", " "), setup, "vm " + " ".join(vms), "begin", "wait 5s",
                      "victim = " + victim, fault, "wait 10s", "finally all vms run within 90s"])
    title, steps = lang.parse(text, kind[0])
    story = []
    backend = sim.Sim(sim.program(), seed, story.append)
    try:
        engine.Engine(backend, title, steps, lambda t: story.append("> " + t)).run()
    finally:
        backend.close()
    return story, fault


def phases(story, fault):
    at = story.index("> " + fault)
    victim = next(s.split(": ")[1] for s in story if s.startswith("> victim = "))
    times = [(float(m.group(1)), m.group(2)) for m in map(LINE.match, story[at:]) if m]
    here = set(re.match(r"%s: (vm\d+) runs" % victim, m.group(2)).group(1)
               for m in map(LINE.match, story[:at]) if m and re.match(r"%s: vm\d+ runs" % victim, m.group(2)))
    lost = next(t for t, x in times if "cluster: %s " % victim in x and " Lost: " in x)
    fenced = next(t for t, x in times if "cluster: %s " % victim in x and " Fenced: " in x)
    runs = [t for t, x in times for m in [re.match(r"(node\d+): (vm\d+) runs", x)]
            if m and m.group(2) in here and t >= fenced]
    if len(runs) < len(here) or not here:
        raise SystemExit("%d of %d machines of %s run again:\n%s" % (len(runs), len(here), victim, "\n".join(story)))
    began = times[0][0]
    return {"detect": lost - began, "fence": fenced - lost, "start": max(runs) - fenced, "total": max(runs) - began}


def percentile(values, p):
    values = sorted(values)
    return values[min(len(values) - 1, int(round(p / 100.0 * (len(values) - 1))))]


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--runs", type=int, default=30)
    ap.add_argument("--vms", type=int, default=9)
    ap.add_argument("--timing", default="500ms/3s")
    ap.add_argument("--out", help="append the table to this file")
    opts = ap.parse_args()
    out = ["", "Simulator, hostTimeout %s, heartbeat %s; 3 hosts, %d machines. Virtual seconds, p50 / p99." %
           (opts.timing.split("/")[1], opts.timing.split("/")[0], opts.vms), "",
           "| fault | runs | " + " | ".join(PHASES) + " |", "|---" * (len(PHASES) + 2) + "|"]
    for kind in KINDS:
        got = [phases(*story_of(kind, opts, seed)) for seed in range(1, opts.runs + 1)]
        out.append("| %s | %d | %s |" % (kind[0], len(got), " | ".join(
            "%.2f / %.2f" % (percentile([g[p] for g in got], 50), percentile([g[p] for g in got], 99)) for p in PHASES)))
    text = "\n".join(out) + "\n"
    print(text)
    if opts.out:
        with open(opts.out, "a") as f:
            f.write(text)


if __name__ == "__main__":
    main()
