#!/usr/bin/env python3
"""How long a failover takes on `picket dev`, phase by phase, and what detecting costs when nothing happens.

    failover.py [--runs N] [--vms N] [--kinds power,network,wedged,leader,agent,watchdog] [--timing 500ms/3s] [--idle S]
                [--calm S] [--out FILE]

Each run puts all N machines on one host, hurts it, and waits until every one of them was started again; then the host
comes back.  The other hosts run a machine each, as hosts of a cluster do (one that runs nothing has to arm its watchdog first).  (A wedged host of `picket dev` is reset by its watchdog after 2 s and boots within one more: mostly its
own next boot is the proof, and it gets its machines back.)  PICKET_BIN_DIR names the build folder.  Phases, from the daemons' logs:

  detect   from the fault until the leader marks the host lost
  decide   until an attempt with a level and an executor is committed
  fence    until the proof is committed: the device's own time, two readings at least 1 s apart
  lock     until the last machine's locks are taken by its new host
  start    until the last machine was seen running
  total    all of them; `without device` is total without fence

`watchdog` takes the fence devices away first: the proof is the watchdog's bound then, L + W + feed + drift.
--calm lets the cluster run for so long without any fault, and counts who was fenced all the same.
"""

import argparse
import datetime
import glob
import os
import random
import re
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "dev"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import chaos_test as chaos  # noqa: E402
import cluster as dev  # noqa: E402
import idle  # noqa: E402

KINDS = ("power", "network", "wedged", "leader", "watchdog", "agent")
PHASES = ("detect", "decide", "fence", "lock", "start", "total", "without device")
NAMES = {"power": "power cut", "network": "network cut", "wedged": "wedged host (SIGSTOP)",
         "leader": "power cut of the leader's host", "watchdog": "power cut, no device, watchdog only",
         "agent": "agent killed"}


LINE = re.compile(r"(?:<\d>)?(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3})Z (.*)")
STORY = r"do=(mark-lost|fence-attempt|watchdog-wait|proof) |act=(acquire|start) |vm=\S+ phase=Running|msg=\"registered\""


def stamp(text):
    t = datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%f")
    return t.replace(tzinfo=datetime.timezone.utc).timestamp()


def percentile(values, p):
    values = sorted(values)
    return values[min(len(values) - 1, int(round(p / 100.0 * (len(values) - 1))))]


class Bench:
    def __init__(self, c, opts):
        self.c = c
        self.opts = opts
        self.vms = ["vm%d" % i for i in range(opts.vms)]
        self.rng = random.Random(opts.seed)
        self.results = {k: [] for k in KINDS}

    def base(self):
        beat, timeout = self.opts.timing.split("/")
        hosts = "".join(chaos.HOST % (h, i + 1, i + 1, i + 1) for i, h in enumerate(chaos.HOSTS))
        text = chaos.BASE % "Off" + hosts
        return text.replace("heartbeat: 500ms, hostTimeout: 3s", "heartbeat: %s, hostTimeout: %s" % (beat, timeout))

    def leader(self):
        return self.c.get("cluster", "cluster")["status"]["leader"]

    def everything(self):
        """{vm: (phase, host)} by one request"""
        return {v["metadata"]["name"]: (v.get("status", {}).get("phase", ""), v.get("status", {}).get("host", ""))
                for v in self.c.items("vm") if v["metadata"]["name"] in self.vms}

    def fill(self, host):
        """All machines on this host: the others are cordoned while they are made."""
        self.c.wait("no machines", self.none_left, 120, every=0.3)
        for h in [x for x in chaos.HOSTS if x != host] + [host]:
            for x in chaos.HOSTS:
                self.c.run("uncordon" if h == x else "cordon", x)
            if h != host:
                self.c.apply(chaos.VM % ("resident-" + h, "256Mi", "Running", 0))
                self.c.wait("a machine on %s" % h, lambda h=h: self.c.phase("resident-" + h) == "Running", 60, every=0.3)
        self.c.apply("".join(chaos.VM % (v, "256Mi", "Running", 0) for v in self.vms))
        self.c.wait("all machines on %s" % host,
                    lambda: list(self.everything().values()).count(("Running", host)) == len(self.vms), 120, every=0.3)
        for h in chaos.HOSTS:
            self.c.run("uncordon", h)
        time.sleep(self.opts.settle)

    def none_left(self):
        if not self.c.items("vm"):
            return True
        self.c.run("delete", "vm", "--all", timeout=120, check_rc=False)
        return False

    def hurt(self, kind, host):
        if kind == "network":
            self.c.dev("cut", host)
        elif kind == "wedged":
            self.c.dev("wedge", host)
        elif kind == "agent":
            self.c.dev("kill", host, "agent")
        else:
            self.c.dev("power", host, "off")

    def heal(self, kind, host):
        if kind == "network":
            self.c.dev("heal")
        if kind == "wedged":
            self.c.dev("unwedge", host, check_rc=False)
        for _ in range(12):  # on an overloaded machine another one may have been lost meanwhile
            for h in chaos.HOSTS:
                if kind != "agent":
                    self.c.dev("power", h, "on", check_rc=False)
            try:
                return self.c.wait_hosts(seconds=15)
            except dev.Failed:
                continue
        raise dev.Failed("the hosts do not come back")

    def first(self, lines, what, since=0.0):
        found = [t for t, _, text in lines if what in text and t >= since]
        return found[0] if found else None

    def mark(self):
        """Where the logs end now: reading all of them again and again would take the machine's time away."""
        self.at = {p: os.path.getsize(p) for p in glob.glob(os.path.join(self.c.dir, "hosts", "*", "log", "*.log"))}

    def news(self, pattern, keep):
        """Lines that were written since the mark (or, unless kept, since the last call); like log_lines."""
        found, rx = [], re.compile(pattern)
        for path in glob.glob(os.path.join(self.c.dir, "hosts", "*", "log", "*.log")):
            with open(path, "rb") as f:
                f.seek(min(self.at.get(path, 0), os.path.getsize(path)))
                text = f.read()
            end = text.rfind(b"\n") + 1
            for line in text[:end].decode(errors="replace").splitlines():
                m = rx.search(line) and LINE.match(line)
                if m:
                    found.append((stamp(m.group(1)), path.split(os.sep)[-3], m.group(2)))
            if not keep:
                self.at[path] = self.at.get(path, 0) + end
        return sorted(found)

    def phases(self, host, began):
        lines = [x for x in self.story if x[0] >= began]
        mine = [x for x in lines if "host=%s " % host in x[2]]
        lost = self.first(mine, "do=mark-lost")
        dev.check(lost is not None, "%s was not marked lost" % host)
        proof = self.first(mine, "do=proof", lost)
        if proof is None:  # its watchdog was faster: its next boot is the proof
            proof = self.first(mine, 'msg="registered"', lost)
        dev.check(proof is not None, "nothing proved that %s is off" % host)
        attempt = self.first(mine, "do=fence-attempt") or self.first(mine, "do=watchdog-wait")
        attempt = proof if attempt is None or attempt > proof else attempt
        starts = [t for t, _, x in lines if "act=start " in x and t >= proof]
        running = [t for t, _, x in lines if "phase=Running" in x and "vm=" in x and t >= proof]
        dev.check(len(running) >= len(self.vms), "%d of %d machines in the logs" % (len(running), len(self.vms)))
        r = {"detect": lost - began, "decide": attempt - lost, "fence": proof - attempt,
             "lock": max(starts) - proof, "start": max(running) - max(starts), "total": max(running) - began}
        r["without device"] = r["total"] - r["fence"]
        # how many starts were issued within 0.1 s of the proof
        r["starts in 0.1 s"] = len([t for t in starts if t - proof <= 0.1])
        return r

    def devices(self, on):
        text = "".join(chaos.HOST % (h, i + 1, i + 1, i + 1) for i, h in enumerate(chaos.HOSTS))
        self.c.apply(text if on else text.replace("fencing: [{devices: [rack1-pdu]}]", "fencing: []"))

    def run(self, kind):
        if kind == "watchdog":
            self.devices(False)
        lead = self.leader()
        host = lead if kind == "leader" else self.rng.choice([h for h in chaos.HOSTS if h != lead])
        self.fill(host)
        if self.leader() != lead:  # it moved meanwhile: the host is what it is
            host = self.leader() if kind == "leader" else host
        fencings = len(self.c.items("fencings"))
        self.mark()
        self.story = []
        began = time.time()
        self.hurt(kind, host)
        if kind == "agent":
            self.unharmed(host, began, fencings)
        else:
            self.c.wait("all machines started again", self.again, 90, every=0.3)
            self.results[kind].append(self.phases(host, began))
        if kind == "watchdog":
            self.devices(True)
        self.heal(kind, host)

    def again(self):
        """Started by somebody since then; a wedged host that was reset may have got them back itself."""
        self.story += self.news(STORY, keep=False)
        self.seen = set(x.split("vm=")[1].split()[0] for _, _, x in self.story if " phase=Running" in x)
        return self.seen >= set(self.vms)

    def unharmed(self, host, began, fencings):
        """Killing the agent must not be seen: nobody is fenced, no machine is touched."""
        time.sleep(3 * self.seconds(self.opts.timing.split("/")[1]) + 1)
        dev.check(len(self.c.items("fencings")) == fencings, "somebody was fenced for a killed agent")
        dev.check(all(v == ("Running", host) for v in self.everything().values()), "a machine moved or stopped")
        late = [t for t, _, x in self.news(r"picket-agent/renew state=Live", keep=True)]
        self.results["agent"].append({"back": min(late) - began if late else 0.0})

    @staticmethod
    def seconds(text):
        return float(text[:-2]) / 1000 if text.endswith("ms") else float(text[:-1])

    # --- no faults ---

    def calm(self):
        """{load, fenced, terms, lost}: what happened while nothing was hurt."""
        self.mark()
        began, loads, fencings = time.monotonic(), [], len(self.c.items("fencings"))
        while time.monotonic() - began < self.opts.calm:
            time.sleep(min(10, self.opts.calm))
            loads.append(os.getloadavg()[0])
        story = self.news(r"do=mark-lost|role=leader|act=(start|shutdown|destroy) ", keep=True)
        count = lambda what: len([x for x in story if what in x[2]])  # noqa: E731
        return {"seconds": time.monotonic() - began, "load": sum(loads) / len(loads), "most": max(loads),
                "fenced": len(self.c.items("fencings")) - fencings, "lost": count("do=mark-lost"),
                "leaders": count("role=leader"), "guests": count("act=")}

    # --- idle ---

    def idle(self):
        procs = idle.processes(self.c)
        lead = self.leader()
        before, began = {pid: idle.used(pid)[0] for _, _, pid in procs}, time.monotonic()
        time.sleep(self.opts.idle)
        span = time.monotonic() - began
        cost = {}
        for h, p, pid in procs:
            name = p + (" (leader)" if p == "picketd" and h == lead else "")
            cost.setdefault(name, []).append(100 * (idle.used(pid)[0] - before[pid]) / span)
        return {k: max(v) for k, v in cost.items()}


def calm_text(r):
    return ("Without any fault for %.0f s at a load of %.1f on average (%.1f at most): %d hosts fenced, %d suspected, %d changes of "
            "leader, %d guests stopped or started." %
            (r["seconds"], r["load"], r["most"], r["fenced"], r["lost"], r["leaders"], r["guests"]))


def table(bench, cost, calm, opts):
    with open("/proc/loadavg") as f:
        load = f.read().split()[0]
    out = ["", "### hostTimeout %s, heartbeat %s; %d machines on the lost host" %
           (opts.timing.split("/")[1], opts.timing.split("/")[0], opts.vms), "",
           "Load of the machine at the end: %s on %d cores. Seconds, p50 / p99." % (load, os.cpu_count()), "",
           "| fault | runs | " + " | ".join(PHASES) + " | starts in 0.1 s |", "|---" * (len(PHASES) + 3) + "|"]
    for k in KINDS:
        rs = bench.results[k]
        if not rs:
            continue
        if k == "agent":
            back = [r["back"] for r in rs]
            out.append("| %s | %d | nobody fenced, no machine touched; the lease is renewed again after %.2f / %.2f |%s" %
                       (NAMES[k], len(rs), percentile(back, 50), percentile(back, 99), " |" * len(PHASES)))
            continue
        cells = ["%.2f / %.2f" % (percentile([r[p] for r in rs], 50), percentile([r[p] for r in rs], 99))
                 for p in PHASES]
        cells.append("%d / %d" % (percentile([r["starts in 0.1 s"] for r in rs], 50),
                                  min(r["starts in 0.1 s"] for r in rs)))
        out.append("| %s | %d | %s |" % (NAMES[k], len(rs), " | ".join(cells)))
    if cost:
        out += ["", "Idle, percent of one core (the most of the three hosts): " +
                ", ".join("%s %.2f" % (k, v) for k, v in sorted(cost.items())) + "."]
    if calm:
        out += ["", calm_text(calm)]
    return "\n".join(out) + "\n"


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--runs", type=int, default=30)
    ap.add_argument("--vms", type=int, default=100)
    ap.add_argument("--kinds", default=",".join(KINDS))
    ap.add_argument("--timing", default="500ms/3s")
    ap.add_argument("--idle", type=float, default=20)
    ap.add_argument("--calm", type=float, default=0)
    ap.add_argument("--settle", type=float, default=3)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--out", help="append the table to this file")
    opts = ap.parse_args()
    c = dev.Cluster(3)
    c.up_args = ["--cpus", "64", "--timing", opts.timing]
    with c:
        c.wait("a quorum", lambda: c.run("get", "clusters", check_rc=False).returncode == 0, 30)
        bench = Bench(c, opts)
        c.apply(bench.base())
        c.wait_hosts()
        c.wait("the devices answer",
               lambda: all(c.condition("host", h, "FencingReady").get("status") == "True" for h in chaos.HOSTS), 60)
        bench.fill("node1")
        cost = bench.idle() if opts.idle > 0 else {}
        calm = bench.calm() if opts.calm > 0 else {}
        for n in range(opts.runs):
            for kind in opts.kinds.split(","):
                bench.run(kind)
                last = bench.results[kind][-1]
                print("%3d %-8s %s" % (n + 1, kind, " ".join("%s=%.2f" % kv for kv in last.items())), flush=True)
        c.check_single_writer()
    text = table(bench, cost, calm, opts)
    print(text)
    if opts.out:
        with open(opts.out, "a") as f:
            f.write(text)


if __name__ == "__main__":
    main()
