"""The parts of bench-store that are measured once, each on fresh stores: memory, snapshot, restart, failover, follower."""

import os
import shutil
import signal
import statistics
import subprocess
import threading
import time

import stores


OUTAGE_MAX_MS = 10000.0  # so long is looked for the first put after the leader's death


class Sampler(threading.Thread):
    """What a member's /metrics say, ten times a second: [(begin, end, snapshot is being written, longest turn in s)]."""

    def __init__(self, single, store, i):
        super().__init__(daemon=True)
        self.single, self.store, self.i = single, store, i
        self.seen, self.over = [], False

    def run(self):
        last = time.time()
        while not self.over:
            time.sleep(0.1)
            try:
                m = self.single.metrics(self.store, self.i)
            except (OSError, ValueError):
                continue
            now = time.time()
            self.seen.append((last, now, m["picket_snapshot_writing"] > 0, m["picket_loop_turn_cpu_max_seconds"]))
            last = now

    def wrote(self, begin, end):
        return any(w and a < end and b > begin for a, b, w, _ in self.seen)


class Single:
    """Mixed into Bench: what belongs to both is there."""

    def picket(self, name, **kw):
        return stores.Picket(os.path.join(self.dir, name), self.bin, **kw)

    def etcd(self, name, **kw):
        return stores.Etcd(os.path.join(self.dir, name), **kw)

    def both(self, name, **kw):
        s = [self.picket("p-" + name, **kw)]
        return s + ([self.etcd("e-" + name, **kw)] if shutil.which("etcd") else [])

    def fill(self, store, keys):
        proto = "native" if store.name == "picket" else "json"
        lead = store.wait_leader()
        return self.run([self.load_bin, "fill", "--address", store.address(lead), "--keys", str(keys), "--clients", "256",
                         "--prefix", "fill/key/of/32b/"] + store.load_args(proto), 3600)

    def single(self, x):
        return None if x is None else (x, x, x)

    def memory(self):
        got = {}
        for s in self.both("memory"):
            with s:
                lead = s.wait_leader()
                self.load(s, "native" if s.name == "picket" else "json", "put", 1, "--clients", "16", "--keys", "100")
                before = stores.rss_kib(s.members[lead].pid)
                self.fill(s, 100000)
                time.sleep(1)
                got[s.name] = (stores.rss_kib(s.members[lead].pid) - before) / 1024
                self.say("%s: +%.0f MiB for 100,000 keys" % (s.name, got[s.name]))
        self.row("leader's memory for 100,000 keys of 32+256 bytes, MiB", "<= 0.25", self.single(got["picket"]),
                 self.single(got.get("etcd")), high=0.25)

    def metrics(self, s, i):
        c = s.connect(i, 5)
        try:
            c.request("GET", "/metrics")
            lines = c.getresponse().read().decode().splitlines()
        finally:
            c.close()
        return {x.split()[0]: float(x.split()[-1]) for x in lines if x and not x.startswith("#") and "{" not in x}

    def snapshot(self):
        """p99 of puts at 64 clients in windows of a second: those in which the leader wrote a snapshot against the others."""
        keys = self.a.million
        with self.picket("p-snapshot") as s:
            self.fill(s, keys)
            lead = s.wait_leader()
            while self.metrics(s, lead)["picket_snapshot_writing"] > 0:
                time.sleep(0.2)
            self.metrics(s, lead)  # from here on the longest turn counts
            sampler = Sampler(self, s, lead)
            sampler.start()
            windows, end = [], time.time() + self.a.windows
            while time.time() < end:
                t = time.time()
                r = self.load(s, "native", "put", 1, "--clients", "64", "--warm", "0.1", "--keys", str(keys),
                              "--prefix", "fill/key/of/32b/")
                windows.append((t, time.time(), r["p99_us"], r["rate"]))
            sampler.over = True
            sampler.join()
        self.snapshot_rows(keys, windows, sampler)

    def snapshot_rows(self, keys, windows, sampler):
        writing = [w for w in windows if sampler.wrote(w[0], w[1])]
        quiet = [w for w in windows if w not in writing]
        if not writing or not quiet:
            raise stores.Failed("no window %s a snapshot in %g s" % ("with" if not writing else "without", self.a.windows))
        three = [(min(w[2] for w in x), statistics.median(w[2] for w in x), max(w[2] for w in x)) for x in (writing, quiet)]
        rate = [statistics.median(w[3] for w in x) for x in (writing, quiet)]
        self.say("snapshot: p99 %.0f us and %.0f puts/s with (%d windows), %.0f us and %.0f/s without (%d)" %
                 (three[0][1], rate[0], len(writing), three[1][1], rate[1], len(quiet)))
        self.row("p99 of puts while a snapshot of %d keys is taken, against p99 without, us" % keys, "<= 2", three[0], three[1],
                 high=2)
        worst = max(x[3] for x in sampler.seen) * 1e3
        self.rows.append(("longest turn of the leader's loop meanwhile, processor time, ms", "<= 5", "%.1f" % worst, "-", "-",
                          "met" if worst <= 5 else "MISSED", ""))

    def restart(self):
        """One member killed and started again: until it answers a linearizable read."""
        got = {}
        for s in self.both("restart"):
            with s:
                self.fill(s, self.a.million)
                lead = s.wait_leader()
                i = (lead + 1) % 3
                s.members[i].kill()
                t = time.monotonic()
                s.members[i].start()
                while not s.serves(i):
                    if time.monotonic() - t > 300:
                        raise stores.Failed("%s does not come back" % s.name)
                    time.sleep(0.01)
                got[s.name] = time.monotonic() - t
                self.say("%s: restarted with %d keys in %.2f s" % (s.name, self.a.million, got[s.name]))
        self.row("restart of a member with %d keys until it serves, s" % self.a.million, "<= 0.5", self.single(got["picket"]),
                 self.single(got.get("etcd")), high=0.5, form="%.2f")

    def one_failover(self, s):
        proto = "native" if s.name == "picket" else "json"
        lead = s.wait_leader()
        time.sleep(1)
        others = ",".join(s.address(i) for i in range(3) if i != lead)
        f = os.path.join(self.dir, "open.txt")
        p = subprocess.Popen([self.load_bin, "open", "--address", others, "--seconds", "12", "--interval", "10", "--file", f] +
                             s.load_args(proto))
        try:
            time.sleep(1.5)
            killed = time.clock_gettime(time.CLOCK_BOOTTIME) * 1e6
            s.members[lead].kill()
            p.wait(timeout=60)
        finally:
            p.kill()
            p.wait()
        with open(f) as h:
            ok = [(int(a), int(b)) for a, b, c in (line.split() for line in h) if c == "0"]
        after = [b - killed for a, b in ok if a > killed]
        s.members[lead].start()
        s.wait_leader()
        time.sleep(1)
        return min(after) / 1e3 if after else OUTAGE_MAX_MS

    def failover(self):
        got = {}
        for timers in ((100, 1000), (50, 500)):
            for s in self.both("failover", heartbeat=timers[0], election=timers[1]):
                with s:
                    v = [self.one_failover(s) for _ in range(self.a.failovers)]
                    got[s.name, timers] = (min(v), statistics.median(v), max(v))
                    self.say("%s, timers %d/%d ms: first put after the leader's death: %.0f / %.0f / %.0f ms" %
                             ((s.name,) + timers + got[s.name, timers]))
        for ours, theirs, goal in (((100, 1000), (100, 1000), 1.0), ((50, 500), (50, 500), 1.0), ((50, 500), (100, 1000), 0.5)):
            text = "leader killed to the first accepted put, ms, timers %d/%d" % ours
            text += "" if ours == theirs else " (etcd at %d/%d)" % theirs
            self.row(text, "<= %g" % goal, got["picket", ours], got.get(("etcd", theirs)), high=goal)

    def follower(self):
        """A follower stopped for a minute under load costs the leader no more than its window."""
        with self.picket("p-follower") as s:
            lead = s.wait_leader()
            i = (lead + 1) % 3
            out = []

            def loaded():
                out.append(self.load(s, "native", "put", self.a.stopped, "--clients", "64", "--keys", "20000"))

            self.load(s, "native", "put", 5, "--clients", "64", "--keys", "20000")
            before = self.load(s, "native", "put", 5, "--clients", "64", "--keys", "20000")
            rss = stores.rss_kib(s.members[lead].pid)
            s.members[i].signal(signal.SIGSTOP)
            t = threading.Thread(target=loaded)
            t.start()
            t.join()
            rss_stopped = stores.rss_kib(s.members[lead].pid)
            log = self.metrics(s, lead)["picket_log_data_bytes"] / (1 << 20)
            s.members[i].signal(signal.SIGCONT)
            start = time.monotonic()
            while self.applied(s, i) + 1000 < self.applied(s, lead):
                time.sleep(0.2)
                if time.monotonic() - start > 120:
                    raise stores.Failed("the follower does not catch up")
            self.say("follower stopped %g s: leader %d -> %d MiB, %.0f -> %.0f puts/s, caught up in %.1f s" %
                     (self.a.stopped, rss // 1024, rss_stopped // 1024, before["rate"], out[0]["rate"], time.monotonic() - start))
            self.rows.append(("log in the leader's memory after a follower was stopped for %g s under load, MiB" % self.a.stopped,
                              "window: 4", "%.1f" % log, "-", "-", "met" if log <= 4.5 else "MISSED",
                              "all of its memory (old revisions of 64 MiB too): %d MiB before, %d after; puts/s %.0f before, %.0f meanwhile" %
                              (rss // 1024, rss_stopped // 1024, before["rate"], out[0]["rate"])))

    def applied(self, s, i):
        st = s.status(i)
        return int(st["raftAppliedIndex"]) if st else 0
