#!/usr/bin/env python3
"""make bench-store: our store next to etcd 3.4 and to the disk, in interleaved rounds of one run.

    tests/bench/store.py [--bin build] [--part put,get,...] [--rounds N] [--seconds S] [--json FILE]

Parts: put, get, watch, memory, snapshot, failover, follower, restart; all by default, about half an hour.
Both run as three members on loopback, on one disk, with 256-byte values.  Clients talk to the leader, which is the best
case for both.  Ours is measured over the native protocol (TLS) and over /v3 JSON (TLS), TLS between the peers; etcd over its
JSON gateway (plain) and, where Go and golang-etcd-server-dev are installed, over gRPC by the official client
(tests/bench/etcdload.go), peers plain; etcd's better figure counts.  64 clients are measured with a connection each and on
8 connections, where both can multiplex (the native protocol, gRPC).  Each round begins with the disk alone; a round whose
probe differs from the median by more than 1.5 is left out of the comparison."""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import stores  # noqa: E402
import store_single  # noqa: E402

PARTS = ["put", "get", "watch", "memory", "snapshot", "failover", "follower", "restart"]
GO_PATH = "/usr/share/gocode"


class Bench(store_single.Single):
    def __init__(self, a):
        self.a = a
        self.bin = os.path.abspath(a.bin)
        self.load_bin = os.path.join(self.bin, "bench", "load")
        self.dir = tempfile.mkdtemp(prefix="bench-store-", dir=self.bin)
        self.grpc = None
        self.rows = []  # (text, goal, ours, theirs, ratio or None, met or None, note)
        self.data = {}  # name -> [result of each round]
        self.probes = []

    # --- running ---

    def run(self, args, timeout):
        p = subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout)
        if p.returncode != 0:
            raise stores.Failed("%s: exit %d: %s%s" % (" ".join(args), p.returncode, p.stdout, p.stderr))
        return json.loads(p.stdout)

    def load(self, store, proto, op, seconds, *args):
        lead = store.wait_leader()
        cpu, own = store.cpu(), resource.getrusage(resource.RUSAGE_CHILDREN)
        if proto == "grpc":
            r = self.run([self.grpc, op, "--address", store.address(lead), "--seconds", str(seconds)] + list(args), seconds + 90)
        else:
            r = self.run([self.load_bin, op, "--address", store.address(lead), "--seconds", str(seconds)] +
                         store.load_args(proto) + list(args), seconds + 90)
        if r.get("ops"):
            # The warm-up is part of what they worked for.
            ops = r["ops"] * (seconds + 0.5) / seconds
            r["cpu_us"] = (store.cpu() - cpu) * 1e6 / ops
            now = resource.getrusage(resource.RUSAGE_CHILDREN)
            r["client_us"] = (now.ru_utime + now.ru_stime - own.ru_utime - own.ru_stime) * 1e6 / ops
        return r

    def build_grpc(self):
        src = os.path.join(stores.ROOT, "tests", "bench", "etcdload.go")
        out = os.path.join(self.bin, "bench", "etcdload")
        if not shutil.which("go") or not os.path.isdir(GO_PATH + "/src/go.etcd.io/etcd/clientv3"):
            print("no gRPC client for etcd (packages golang-go, golang-etcd-server-dev): its JSON gateway alone")
            return
        if not os.path.exists(out) or os.path.getmtime(out) < os.path.getmtime(src):
            env = dict(os.environ, GO111MODULE="off", GOPATH=GO_PATH, GOCACHE=os.path.join(self.bin, "gocache"), GOFLAGS="-p=1")
            p = subprocess.run(["go", "build", "-o", out, src], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True, timeout=900)
            if p.returncode != 0:
                print("no gRPC client for etcd: go build failed:\n" + p.stdout)
                return
        self.grpc = out

    def probe(self):
        f = os.path.join(self.dir, "probe")
        one = self.run([self.load_bin, "probe", "--file", f, "--clients", "1", "--seconds", "1"], 60)
        three = self.run([self.load_bin, "probe", "--file", f, "--clients", "3", "--seconds", "1"], 60)
        return one, three

    def keep(self, name, r):
        self.data.setdefault(name, []).append(r)

    def say(self, text):
        print("%s  %s" % (time.strftime("%H:%M:%S"), text), flush=True)

    # --- rounds of put, get, watch ---

    def kinds(self, picket, etcd):
        k = [("native", picket, "native"), ("v3", picket, "json")]
        if etcd:
            k.append(("etcd-json", etcd, "json"))
            if self.grpc:
                k.append(("etcd-grpc", etcd, "grpc"))
        return k

    def round(self, parts, picket, etcd):
        one, three = self.probe()
        self.probes.append((one, three))
        self.say("probe: 1 writer %.0f/s, 3 writers %.0f/s each" % (one["rate"], three["rate"]))
        for op in ("put", "get"):
            if op not in parts:
                continue
            for n in (1, 64, 1000):
                for name, store, proto in self.kinds(picket, etcd):
                    r = self.load(store, proto, op, self.a.seconds, "--clients", str(n))
                    self.keep((name, op, n), r)
                    self.say_rate(name, op, n, r)
                for name, store, proto in self.kinds(picket, etcd):
                    if n == 64 and proto != "json":
                        r = self.load(store, proto, op, self.a.seconds, "--clients", "64", "--conns", "8")
                        self.keep((name + "-8", op, n), r)
                        self.say_rate(name + "-8", op, n, r)
        if "watch" in parts:
            for n in (100, 1000):
                for name, store, proto in self.kinds(picket, etcd):
                    r = self.load(store, proto, "watch", self.a.seconds, "--clients", str(n), "--keys", "1")
                    self.keep((name, "watch", n), r)
                    self.say("%-9s watch %4d: %8.0f events/s p50 %.2f p99 %.2f ms" %
                             (name, n, r["rate"], r["p50_us"] / 1e3, r["p99_us"] / 1e3))

    def say_rate(self, name, op, n, r):
        self.say("%-11s %s %4d: %8.0f/s p50 %.3f p99 %.2f ms, us/op: servers %.1f, client %.1f" %
                 (name, op, n, r["rate"], r["p50_us"] / 1e3, r["p99_us"] / 1e3, r.get("cpu_us", 0), r.get("client_us", 0)))

    def good_rounds(self):
        """Those whose disk was like the others'."""
        mid = statistics.median(p[1]["rate"] for p in self.probes)
        good = [i for i, p in enumerate(self.probes) if mid / 1.5 <= p[1]["rate"] <= mid * 1.5]
        for i in range(len(self.probes)):
            if i not in good:
                print("round %d is not compared: its probe of %.0f/s differs from the median %.0f/s by more than 1.5" %
                      (i + 1, self.probes[i][1]["rate"], mid))
        return good

    def med(self, good, name, op, n, field):
        rs = self.data.get((name, op, n))
        if not rs:
            return None
        v = [rs[i].get(field) for i in good if i < len(rs) and rs[i].get(field) is not None]
        return (min(v), statistics.median(v), max(v)) if v else None

    def etcd_best(self, good, op, n, field, high):
        both = [m for m in (self.med(good, k, op, n, field) for k in ("etcd-json", "etcd-grpc", "etcd-grpc-8")) if m]
        if not both:
            return None
        return (max if high else min)(both, key=lambda m: m[1])

    def row(self, text, goal, ours, theirs, low=None, high=None, form="%.0f", note=""):
        """low: the ratio must be at least that; high: at most."""
        ratio = ours[1] / theirs[1] if theirs and theirs[1] else None
        met = None if ratio is None else (ratio >= low if low is not None else ratio <= high)
        three = lambda m: "-" if m is None else " / ".join(form % x for x in m)  # noqa: E731
        self.rows.append((text, goal, three(ours), three(theirs), "-" if ratio is None else "%.2f" % ratio,
                          "" if met is None else "met" if met else "MISSED", note))

    def compare(self, parts):
        good = self.good_rounds()
        goals = {("put", 1): (3, 0.35, None), ("put", 64): (10, None, 0.15), ("put", 1000): (15, None, 0.1),
                 ("get", 1): (None, 0.3, None), ("get", 64): (8, None, None), ("get", 1000): (12, None, None)}
        for (op, n), (rate, p50, p99) in goals.items():
            if op not in parts:
                continue
            for name in ("native", "native-8", "v3"):
                if not self.data.get((name, op, n)):
                    continue
                how = {"native-8": "native, 8 connections"}.get(name, name)
                if rate:
                    self.row("%s, %d clients, /s (%s)" % (op, n, how), ">= %g" % rate, self.med(good, name, op, n, "rate"),
                             self.etcd_best(good, op, n, "rate", True), low=rate)
                for field, goal in (("p50_us", p50), ("p99_us", p99)):
                    if goal:
                        self.row("%s, %d clients, %s us (%s)" % (op, n, field[:3], how), "<= %g" % goal,
                                 self.med(good, name, op, n, field), self.etcd_best(good, op, n, field, False), high=goal)
            if op == "put" and n == 1:
                v = [p[1]["rate"] for i, p in enumerate(self.probes) if i in good]
                self.row("put, 1 client, /s (native), next to 3 parallel disk writers", ">= 0.7",
                         self.med(good, "native", op, n, "rate"), (min(v), statistics.median(v), max(v)), low=0.7)
            if op == "put" and n == 64:
                self.row("CPU of all three per put at 64, us (native)", "<= 0.25", self.med(good, "native", op, n, "cpu_us"),
                         self.etcd_best(good, op, n, "cpu_us", False), high=0.25)
        if "watch" in parts:
            for field in ("p50_us", "p99_us"):
                self.row("watch, 100 connections, %s us (native)" % field[:3], "<= 0.2", self.med(good, "native", "watch", 100, field),
                         self.etcd_best(good, "watch", 100, field, False), high=0.2)
            self.row("watch, 1000 connections, events/s (native)", ">= 20", self.med(good, "native", "watch", 1000, "rate"),
                     self.etcd_best(good, "watch", 1000, "rate", True), low=20)

    # --- all ---

    def main(self):
        parts = self.a.part.split(",")
        self.build_grpc()
        looped = [p for p in parts if p in ("put", "get", "watch")]
        if looped:
            both = self.both("rounds")
            with both[0] as picket:
                etcd = both[1] if len(both) > 1 else None
                try:
                    if etcd:
                        etcd.start()
                    for i in range(self.a.rounds):
                        self.say("round %d of %d" % (i + 1, self.a.rounds))
                        self.round(looped, picket, etcd)
                finally:
                    if etcd:
                        etcd.__exit__(None, None, None)
            self.compare(looped)
        for p in parts:
            if p not in looped:
                try:
                    getattr(self, p)()
                except (stores.Failed, subprocess.TimeoutExpired) as e:
                    self.say("%s failed: %s" % (p, e))
                    self.rows.append((p, "", "-", "-", "-", "MISSED", "the measurement failed: %s" % str(e)[:150]))
                except KeyboardInterrupt:  # the table of what there is
                    self.rows.append((p, "", "-", "-", "-", "", "interrupted: this part and what was to follow were not measured"))
                    break
        self.table()
        if self.a.json:
            with open(self.a.json, "w") as f:
                json.dump({"probes": self.probes, "rounds": {" ".join(map(str, k)): v for k, v in self.data.items()},
                           "rows": self.rows}, f, indent=1)
        shutil.rmtree(self.dir, ignore_errors=True)

    def table(self):
        print("\n%s, %d processors, load %.1f" % (time.strftime("%Y-%m-%d %H:%M"), os.cpu_count(), os.getloadavg()[0]))
        if self.probes:
            for k, t in ((0, "1 writer"), (1, "3 writers, each")):
                v = [p[k]["rate"] for p in self.probes]
                print("disk, 4 KiB O_DIRECT|O_DSYNC, %s: min %.0f median %.0f max %.0f writes/s" %
                      (t, min(v), statistics.median(v), max(v)))
        heads = ("what (min / median / max)", "goal", "Picket", "etcd or reference", "ratio", "")
        print("\n| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
        for r in self.rows:
            print("| " + " | ".join(r[:5] + ((r[5] + " " + r[6]).strip(),)) + " |")


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--bin", default=os.path.join(stores.ROOT, "build"))
    ap.add_argument("--part", default=",".join(PARTS))
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--seconds", type=float, default=2)
    ap.add_argument("--million", type=int, default=1000000, help="keys for snapshot and restart")
    ap.add_argument("--windows", type=float, default=100, help="seconds of load in which snapshots are waited for")
    ap.add_argument("--failovers", type=int, default=3)
    ap.add_argument("--stopped", type=float, default=60, help="seconds that the follower is stopped")
    ap.add_argument("--json")
    a = ap.parse_args()
    bad = [p for p in a.part.split(",") if p not in PARTS]
    if bad:
        ap.error("no part %s; there are %s" % (", ".join(bad), ", ".join(PARTS)))
    try:
        Bench(a).main()
    except stores.Failed as e:
        sys.exit("bench-store: %s" % e)


if __name__ == "__main__":
    main()
