#!/usr/bin/env python3
"""Random faults against three hosts and about ten machines, while users work.

    chaos_test.py [--seconds N] [--seed S] [--phase NAME]...

Each phase does random things, then heals everything, switches every host on, and requires: the cluster converges
without a person; every machine that should run does, writes its disk, and nobody else does; two guests never wrote
to one disk in turns; no lock is held by an incarnation that is not live; nobody was fenced who was well all the time;
whatever did not run had a reason.  The folder of the cluster is kept when something fails.
"""

import argparse
import os
import random
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import cluster as dev  # noqa: E402

HOSTS = ["node1", "node2", "node3"]
PROCESSES = ["picketd", "picket-agent", "picket-watchdog"]
CALM = 3.5   # so long it has to stay settled: a lease, until what was hurt last is noticed
QUIET = 4    # so long after a fault a cluster with a majority answers
SHORT = 1.5  # half of hostTimeout
SETTLE = 90  # seconds until everything runs again; a fencing's attempts and the restarts included
EXIT_CODES = {0, 1, 3, 4, 5, 6, 7}  # a crash is negative, a usage error (2) is a bug of this test

BASE = """
apiVersion: picket/v1
kind: Cluster
metadata: {name: cluster}
spec:
  timing: {heartbeat: 500ms, hostTimeout: 3s}
  capacity: {tolerateHostFailures: 1, onOvercommit: Warn}
  fencing: {action: %s, startupGrace: 1s, maxPerWindow: 64, maxPerHost: 64, window: 1m}
---
apiVersion: picket/v1
kind: Secret
metadata: {name: pdu}
stringData: {community: pr1vate-write}
---
apiVersion: picket/v1
kind: FenceDevice
metadata: {name: rack1-pdu}
spec:
  type: ApcSnmp
  address: 192.168.1.245
  communityRef: {secret: pdu, key: community}
  outlets: Auto
  maxConcurrent: 1
---
apiVersion: picket/v1
kind: Bridge
metadata: {name: br0}
spec: {ports: [eth0]}
---
apiVersion: picket/v1
kind: ISCSITarget
metadata: {name: san}
spec: {iqn: "iqn.2026-01.test:san", portals: ["10.0.0.1:3260", "10.0.1.1:3260"]}
---
apiVersion: picket/v1
kind: LUN
metadata: {name: lun0}
spec: {target: san, lun: 0}
---
apiVersion: picket/v1
kind: VolumeGroup
metadata: {name: vg0}
spec: {luns: [lun0], initialise: true}
"""

HOST = """
---
apiVersion: picket/v1
kind: Host
metadata: {name: %s}
spec:
  addresses: [192.168.1.10%d, 10.0.0.1%d]
  migrationAddress: 192.168.1.10%d
  fencing: [{devices: [rack1-pdu]}]
"""

VM = """
---
apiVersion: picket/v1
kind: VirtualMachine
metadata: {name: %s}
spec:
  memory: %s
  runPolicy: %s
  disks: [{name: root, volumeGroup: vg0, size: 1Gi}]
  nics: [{bridge: br0}]
  ha: {policy: Restart, onGuestPoweroff: Restart, restartLimit: {count: 60, window: 1m}}
  priority: %d
"""


class Chaos:
    def __init__(self, c, rng):
        self.c = c
        self.rng = rng
        self.vms = {}        # name -> wanted: "Running", "Stopped" or "" (deleted); what users were told counts
        self.made = 0
        self.action = rng.choice(["Off", "Reboot"])
        self.cuts = set()    # hosts that are cut off from everybody
        self.wedged = set()
        self.off = set()
        self.touched = 0     # when the last fault came or went
        self.since = {}      # host -> since when it is hurt
        self.hurt = set()    # hosts that may be fenced for what this phase did
        self.lost_quorum = False
        self.seen_fencings = set()
        self.story = []

    # --- reports ---

    def say(self, text):
        line = "%8.2f %s" % (time.monotonic() - self.began, text)
        self.story.append(line)
        print(line, flush=True)

    def picket(self, *args, stdin=None, timeout=60):
        """What a user types; its exit code must be one of the documented ones, and a failure must say why."""
        began = time.monotonic()
        p = self.c.run("--request-timeout", "4s", *args, check_rc=False, stdin=stdin, timeout=timeout)
        dev.check(p.returncode in EXIT_CODES, "picket %s: exit %d\n%s" % (" ".join(args), p.returncode, p.stderr))
        dev.check(p.returncode == 0 or p.stderr.strip(), "picket %s: exit %d without a word" %
                  (" ".join(args), p.returncode))
        dev.check(p.returncode not in (5, 6, 7) or not self.majority_well(began), "picket %s: exit %d, although a "
                  "majority was well all the time: %s" % (" ".join(args), p.returncode, p.stderr))
        return p

    def majority_well(self, at):
        """Were two hosts well since QUIET seconds before that time?"""
        if time.monotonic() < self.touched + QUIET or at < self.touched + QUIET:
            return False
        st = dev.json.loads(self.c.dev("status", "-o", "json").stdout)
        well = [h for h in st["hosts"] if h["name"] in self.healthy() and h["power"] == "on" and
                h["sinceWallMs"] / 1000.0 < time.time() - (time.monotonic() - at) - QUIET]
        return len(well) >= 2

    # --- faults ---

    def healthy(self):
        return [h for h in HOSTS if h not in self.cuts | self.wedged | self.off]

    def note(self, host, how):
        self.since.setdefault(host, time.monotonic())
        if how in ("power", "reset"):
            self.hurt.add(host)
        if len(self.healthy()) < 2:
            self.lost_quorum = True

    def kill_process(self):
        self.touched = time.monotonic()
        host, process = self.rng.choice(HOSTS), self.rng.choice(PROCESSES)
        p = self.c.dev("kill", host, process, check_rc=False)
        self.say("kill %s on %s: %s" % (process, host, p.stderr.strip() or "ok"))

    def kill_guest(self):
        guests = []
        for host in HOSTS:
            folder = os.path.join(self.c.dir, "hosts", host, "guests")
            guests += [(host, os.path.join(folder, f)) for f in sorted(os.listdir(folder)) if f.endswith(".state")]
        if not guests:
            return
        host, path = self.rng.choice(guests)
        try:
            with open(path) as f:
                facts = dict(line.rstrip("\n").split("=", 1) for line in f if "=" in line)
        except FileNotFoundError:
            return
        pid = int(facts["pid"])
        try:
            with open("/proc/%d/cmdline" % pid, "rb") as f:
                mine = self.c.dir.encode() in f.read()
            if mine and facts["state"] == "Running":
                os.kill(pid, signal.SIGKILL)
                self.say("kill the guest %s on %s" % (facts["vm"], host))
        except (FileNotFoundError, ProcessLookupError):
            pass

    def hurt_host(self, host, how=None):
        self.touched = time.monotonic()
        how = how or self.rng.choice(["cut", "cut-in", "cut-out", "wedge", "power", "reset"])
        p = None
        self.say("%s %s" % (how, host))
        if how.startswith("cut"):
            direction = {"cut": "both", "cut-in": "in", "cut-out": "out"}[how]
            self.cuts.add(host)
            p = self.c.dev("cut", host, "--direction", direction, check_rc=False)
        elif how == "wedge":
            p = self.c.dev("wedge", host, check_rc=False)
            self.wedged.add(host)
        elif how == "power":
            p = self.c.dev("power", host, "off", check_rc=False)
            self.off.add(host)
        else:
            p = self.c.dev("reset", host, check_rc=False)
        self.note(host, how)
        if p.returncode != 0:
            self.say("  %s" % p.stderr.strip())

    def cure_host(self, host):
        self.say("cure %s" % host)
        self.touched = time.monotonic()
        if host in self.cuts:
            self.c.dev("heal", host, check_rc=False)
        if host in self.wedged:
            self.c.dev("unwedge", host, check_rc=False)  # it may have been fenced meanwhile
        self.c.dev("power", host, "on", check_rc=False)
        self.cured(host)

    def cured(self, host):
        """A host that was silent for a moment, well below hostTimeout, is no reason for a fencing."""
        if time.monotonic() - self.since.pop(host, time.monotonic()) > SHORT:
            self.hurt.add(host)
        self.cuts.discard(host)
        self.wedged.discard(host)
        self.off.discard(host)

    def cut_link(self):
        """Cuts that leave every host a way to the leader through somebody: nobody may be fenced for one."""
        self.touched = time.monotonic()
        kind = self.rng.choice(["pair", "pdu", "link", "gateway"])
        host = self.rng.choice(HOSTS)
        if kind == "pair":
            self.c.dev("heal")
            args = [host, "--from", self.rng.choice([h for h in HOSTS if h != host])]
        elif kind == "link":
            args = [host, "--link", "2"]
        else:
            args = [host, "--from", kind]
        self.say("cut %s" % " ".join(args))
        self.c.dev("cut", *args, check_rc=False)

    # --- users ---

    def user(self):
        self.rng.choice([self.user_apply, self.user_apply, self.user_delete, self.user_cordon, self.user_migrate,
                         self.user_stop, self.user_look])()

    def manifest(self, name, policy):
        return VM % (name, self.rng.choice(["256Mi", "512Mi", "1Gi"]), policy, self.rng.choice([0, 10, 100]))

    def user_apply(self):
        if len([v for v in self.vms.values() if v]) >= 12:
            return
        self.made += 1
        name = "vm%d" % self.made
        p = self.picket("apply", "-f", "-", stdin=self.manifest(name, "Running"))
        self.say("apply %s: %d" % (name, p.returncode))
        self.vms[name] = "Running"
        self.retry(p, "apply", name)

    def user_stop(self):
        names = [n for n, v in self.vms.items() if v]
        if names:
            name = self.rng.choice(sorted(names))
            policy = "Stopped" if self.vms[name] == "Running" else "Running"
            p = self.picket("apply", "-f", "-", stdin=self.manifest(name, policy))
            self.say("%s %s: %d" % (policy, name, p.returncode))
            self.vms[name] = policy
            self.retry(p, "apply", name)

    def user_delete(self):
        names = [n for n, v in self.vms.items() if v]
        if len(names) > 6:
            name = self.rng.choice(sorted(names))
            p = self.picket("delete", "vm", name, "--wait=false", "--ignore-not-found")
            self.say("delete %s: %d" % (name, p.returncode))
            self.vms[name] = ""
            self.retry(p, "delete", name)

    def retry(self, p, verb, name):
        """What was not acknowledged is done again once everything is healed."""
        if p.returncode != 0:
            self.say("  %s" % p.stderr.strip().replace("\n", " | ")[:300])
            self.again.append((verb, name))

    def user_cordon(self):
        host = self.rng.choice(HOSTS)
        for verb in ("cordon", "uncordon"):
            p = self.picket(verb, host)
            self.say("%s %s: %d" % (verb, host, p.returncode))

    def user_migrate(self):
        names = sorted(n for n, v in self.vms.items() if v == "Running")
        if names:
            name, host = self.rng.choice(names), self.rng.choice(HOSTS)
            p = self.picket("migrate", name, "--to", host, "--no-wait", "--timeout", "20s")
            self.say("migrate %s --to %s: %d %s" % (name, host, p.returncode, p.stderr.strip()[:200]))

    def user_look(self):
        p = self.picket("get", "vm", "-o", "json")
        if p.returncode == 0:
            self.reasons(dev.json.loads(p.stdout)["items"])

    def reasons(self, vms):
        for vm in vms:
            st = vm.get("status", {})
            if vm["metadata"].get("deletionTimestamp") or st.get("phase") in (None, "", "Running"):
                continue
            ready = [x for x in st.get("conditions", []) if x["type"] == "Ready"]
            name = vm["metadata"]["name"]
            dev.check(ready and ready[0]["reason"], "%s is %s without a reason: %s" % (name, st.get("phase"), st))
            p = self.picket("why", "vm", name)
            if p.returncode == 0:
                dev.check("Nothing is wrong" not in p.stdout or self.c.phase(name) in ("Running", "Stopped", ""),
                          "%s is %s, and why says:\n%s" % (name, st.get("phase"), p.stdout))
                dev.check(len(p.stdout.split()) > 3, "why vm %s says nothing: %s" % (name, p.stdout))

    # --- phases ---

    def phase_kills(self):
        for _ in range(6):
            self.rng.choice([self.kill_process, self.kill_process, self.kill_guest, self.user])()
            time.sleep(self.rng.uniform(0.1, 2.5))

    def phase_guests(self):
        for _ in range(6):
            self.rng.choice([self.kill_guest, self.user_migrate, self.user])()
            time.sleep(self.rng.uniform(0.0, 1.0))

    def phase_links(self):
        for _ in range(3):
            self.rng.choice([self.cut_link, self.cut_link, self.user])()
            time.sleep(self.rng.uniform(0.5, 4))

    def phase_host(self):
        host = self.rng.choice(HOSTS)
        self.hurt_host(host)
        if self.rng.random() < 0.5:
            time.sleep(QUIET + 0.5)
            self.user_apply()
        for _ in range(self.rng.randint(0, 4)):
            self.rng.choice([self.kill_guest, self.user])()
            time.sleep(self.rng.uniform(0.1, 2))
        if self.rng.random() < 0.4:
            self.cure_host(host)

    def phase_chain(self):
        """One after the other, as soon as the one before is cured; often the leader."""
        for _ in range(3):
            host = self.rng.choice(HOSTS)
            if self.rng.random() < 0.5:
                host = (self.c.get("cluster", "cluster") or {}).get("status", {}).get("leader") or host
            self.hurt_host(host)
            time.sleep(self.rng.uniform(0.2, 6))
            if self.rng.random() < 0.5:
                self.user()
            self.cure_host(host)
            time.sleep(self.rng.uniform(0.2, 4))

    def phase_majority(self):
        hosts = self.rng.sample(HOSTS, self.rng.choice([2, 2, 3]))
        for host in hosts:
            self.hurt_host(host)
            time.sleep(self.rng.choice([0, 0.2, 2]))
        if self.rng.random() < 0.5:
            self.user()
        time.sleep(self.rng.uniform(0.5, 8))
        self.rng.shuffle(hosts)
        for host in hosts:
            if self.rng.random() < 0.5:
                self.cure_host(host)
                time.sleep(self.rng.uniform(0, 2))

    def phase_storm(self):
        self.lost_quorum = True
        for _ in range(10):
            sick = sorted(self.cuts | self.wedged | self.off)
            if sick and self.rng.random() < 0.5:
                self.cure_host(self.rng.choice(sick))
            else:
                self.rng.choice([self.kill_process, self.kill_guest, self.user,
                                 lambda: self.hurt_host(self.rng.choice(HOSTS))])()
            time.sleep(self.rng.uniform(0, 1.5))

    # --- and what has to be true afterwards ---

    def power_on(self):
        st = dev.json.loads(self.c.dev("status", "-o", "json").stdout)
        for h in st["hosts"]:
            if h["power"] == "off" and (self.action == "Off" or not h["plugged"]):
                self.c.dev("power", h["name"], "on", check_rc=False)

    def settled(self):
        """None, or what is not yet as it has to be."""
        self.power_on()
        for host in HOSTS:
            if self.c.condition("host", host, "Ready").get("status") != "True":
                return "%s is not ready" % host
        seen = {o["metadata"]["name"]: o for o in self.c.items("vm")}
        for name, wanted in self.vms.items():
            if (name in seen) != bool(wanted):
                return "%s is %s" % (name, "still there" if name in seen else "missing")
            if wanted and seen[name].get("status", {}).get("phase") != wanted:
                return "%s is %s, not %s" % (name, seen[name].get("status", {}).get("phase"), wanted)
        for m in self.c.items("migrations"):
            if m.get("status", {}).get("phase") not in ("Succeeded", "Failed", "Cancelled", "Aborted"):
                return "migration %s is %s" % (m["metadata"]["name"], m.get("status", {}).get("phase"))
        return None

    def settle(self):
        self.say("heal everything")
        self.touched = time.monotonic()
        self.c.dev("heal")
        for host in sorted(self.wedged):
            self.c.dev("unwedge", host, check_rc=False)
        for host in HOSTS:
            self.cured(host)
        self.power_on()
        self.c.wait("a quorum", lambda: self.picket("get", "clusters").returncode == 0, 30)
        for host in HOSTS:
            self.c.wait("%s uncordoned" % host, lambda h=host: self.picket("uncordon", h).returncode == 0, 30)
        self.do_again()
        began, last, end = time.monotonic(), "", time.monotonic() + SETTLE
        stable = None
        while True:
            what = self.settled()
            if what is None:
                stable = stable or time.monotonic()
                if time.monotonic() > stable + CALM:
                    break
            else:
                stable = None
            if what is not None and what != last:
                self.say("  waiting: %s" % what)
                last = what
            dev.check(time.monotonic() < end, "not settled after %d s: %s\n%s\n%s" % (SETTLE, what, self.c.picture(),
                                                                                  self.whys()))
            time.sleep(0.2)
        self.say("settled after %.1f s" % (stable - began))

    def do_again(self):
        for verb, name in self.again:
            if verb == "apply" and self.vms[name]:
                self.c.apply(self.manifest(name, self.vms[name]))
            elif verb == "delete":
                self.c.run("delete", "vm", name, "--wait=false", "--ignore-not-found")

    def whys(self):
        out = ""
        for name, wanted in self.vms.items():
            if wanted and self.c.phase(name) != wanted:
                p = self.c.run("why", "vm", name, check_rc=False)
                out += p.stdout + p.stderr
        return out

    def check_all(self):
        self.check_disks()
        self.check_locks()
        self.check_fencings()

    def check_disks(self):
        """One writer at a time, from the files alone; machines that run write, on the host that the API names."""
        before = {d: len(lines) for d, lines in self.c.writers().items()}
        self.one_writer()
        running = [n for n, v in self.vms.items() if v == "Running"]

        def all_write():
            now = self.c.writers()
            return all(len(now[d]) > before.get(d, 0) for d in now if self.machine(d) in running)

        self.c.wait("every running machine writes", all_write, 10)
        seen = {o["metadata"]["name"]: o["status"].get("host") for o in self.c.items("vm")}
        last = {self.machine(d): lines[-1] for d, lines in self.c.writers().items() if lines}
        for name in running:
            dev.check(name in last, "%s never wrote" % name)
            dev.check(last[name][1] == seen[name], "%s runs on %s, the API says %s" % (name, last[name][1], seen[name]))
        time.sleep(0.3)
        counts = {d: len(lines) for d, lines in self.c.writers().items()}
        time.sleep(0.5)
        for d, lines in self.c.writers().items():
            if self.machine(d) not in running:
                dev.check(len(lines) == counts[d], "%s is written to, but should not run" % d)

    @staticmethod
    def machine(disk):
        return os.path.basename(disk).split("-")[0]

    def one_writer(self):
        self.c.check_single_writer()

    def check_locks(self):
        live = {}
        for o in self.c.items("hosts"):
            st = o["status"]
            live[o["metadata"]["name"]] = st["incarnation"] if st["incarnationState"] == "Live" else 0
        vms = {o["metadata"]["name"]: o["status"] for o in self.c.items("vm")}
        for o in self.c.items("locks"):
            st = o["status"]
            dev.check(live.get(st.get("holder")) == st.get("incarnation"), "a lock of the dead: %s, live are %s" %
                      (o, live))
            kind, name = st["object"].split("/")
            if kind == "virtualmachines":
                dev.check(name in vms and vms[name]["phase"] == "Running", "%s is locked and %s" %
                          (name, vms.get(name, {}).get("phase")))

    def check_fencings(self):
        for f in self.c.items("fencings"):
            name, host = f["metadata"]["name"], f["spec"]["host"]
            if name in self.seen_fencings:
                continue
            self.seen_fencings.add(name)
            self.say("fencing %s of %s: %s %s" % (name, host, f["status"].get("state"), f["status"].get("proof")))
            dev.check(self.lost_quorum or host in self.hurt, "%s was fenced, but nothing was wrong with it: %s" %
                      (host, f))

    # --- the run ---

    def start(self):
        self.began = time.monotonic()
        self.again = []
        self.c.wait("a quorum", lambda: self.c.run("get", "clusters", check_rc=False).returncode == 0, 30)
        text = BASE % self.action + "".join(HOST % (h, i + 1, i + 1, i + 1) for i, h in enumerate(HOSTS))
        for _ in range(10):
            self.made += 1
            self.vms["vm%d" % self.made] = "Running"
            text += self.manifest("vm%d" % self.made, "Running")
        self.c.apply(text)
        self.settle()
        self.check_all()

    def phase(self, name):
        self.again, self.hurt, self.lost_quorum = [], set(), False
        self.say("== %s" % name)
        getattr(self, "phase_" + name)()
        self.settle()
        self.check_all()


PHASES = ["kills", "guests", "links", "host", "chain", "majority", "storm"]


def test():
    ap = argparse.ArgumentParser()
    ap.add_argument("--seconds", type=float, default=60)
    ap.add_argument("--seed", type=int, default=7)
    ap.add_argument("--phase", action="append", choices=PHASES)
    ap.add_argument("--dir")
    ap.add_argument("--keep", action="store_true")
    opts = ap.parse_args()
    rng = random.Random(opts.seed)
    with dev.Cluster(3, folder=opts.dir, keep=opts.keep) as c:
        chaos = Chaos(c, rng)
        end = time.monotonic() + opts.seconds
        print("seed %d, folder %s, action %s" % (opts.seed, c.dir, chaos.action), flush=True)
        chaos.start()
        todo = []
        while time.monotonic() < end:
            if not todo:
                todo = rng.sample(opts.phase or PHASES, len(opts.phase or PHASES))
            chaos.phase(todo.pop())


if __name__ == "__main__":
    dev.main(test)
