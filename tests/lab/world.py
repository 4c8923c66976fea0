"""A Picket cluster on the hosts of a lab: enrol, ask, break, check, and tell the timeline.  Standard library only."""
import glob
import json
import os
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import disk  # noqa: E402
import rig as labrig  # noqa: E402

WITNESS = "10.77.0.3"
# Everything is slow under emulation (docs/lab.md): never quoted as latency.  These are for a machine that has nothing
# else to do; World.slow says how many times slower this one is now.
BOOT_S = 25.0
HEARTBEAT_S, HOST_TIMEOUT_S, ELECTION_MS = 5, 60, 4000
SLOW_MAX = 6.0


class Failed(Exception):
    pass


def check(ok, text):
    if not ok:
        raise Failed(text)


class Timeline:
    """What happened when; the states of objects are watched by asking twice a second."""

    def __init__(self, world):
        self.world = world
        self.lines = []
        self.start = time.time()
        self.last = {}
        self.stop = threading.Event()
        self.thread = None

    def mark(self, text, at=None):
        at = at or time.time()
        self.lines.append((at, text))
        print("%7.1f s  %s" % (at - self.start, text), flush=True)

    def watch(self):
        self.thread = threading.Thread(target=self.poll, daemon=True)
        self.thread.start()

    def facts(self, obj):
        st = obj.get("status", {})
        name = "%s %s" % (obj["kind"], obj["metadata"]["name"])
        if obj["kind"] == "Host":
            ready = next((c for c in st.get("conditions", []) if c["type"] == "Ready"), {})
            return name, "incarnation %s %s, Ready=%s %s" % (st.get("incarnation"), st.get("incarnationState"),
                                                             ready.get("status"), ready.get("reason", ""))
        if obj["kind"] == "Fencing":
            return name, "%s, attempt %s, level %s by %s, proof %s" % (
                st.get("state"), st.get("attempt"), st.get("level"), st.get("executor"), st.get("proof"))
        if obj["kind"] == "Migration":
            return name, "%s" % st.get("phase")
        return name, "%s on %s" % (st.get("phase"), st.get("host") or "-")

    def poll(self):
        while not self.stop.wait(0.5):
            try:
                p = self.world.picket("get", "hosts,vm,fencings,migrations", "-o", "json", check_rc=False, timeout=20)
                items = json.loads(p.stdout)["items"] if p.returncode == 0 else []
            except (ValueError, KeyError, subprocess.TimeoutExpired):
                continue
            for obj in items:
                name, text = self.facts(obj)
                if self.last.get(name) != text:
                    self.last[name] = text
                    self.mark("%s: %s" % (name, text))

    def end(self):
        if self.thread is not None:
            self.stop.set()
            self.thread.join(30)

    def table(self, since):
        """The lines since a mark, with the power's own events and the times between them."""
        rows = sorted([r for r in self.lines if r[0] >= since] +
                      [(t, "power: " + text) for t, text in self.world.rig.events() if t >= since])
        out, last = [], since
        for t, text in rows:
            out.append("%8.1f s  +%6.1f  %s" % (t - since, t - last, text))
            last = t
        return "\n".join(out)


class World:
    """Use as a context manager: takes the lab down at the end; with LAB_KEEP=1 it stays after a failure."""

    def __init__(self, hosts=2, fencing="pdu", guests=(("g1", "PVH"), ("g2", "PV")), name=None, driver="xen", book=False, by_hand=False,
                 links=1, **settings):
        self.rig = labrig.Rig(name or os.environ.get("LAB", "test"))
        self.book, self.by_hand, self.links = book, by_hand, links
        self.slow = 1.0
        self.hosts, self.fencing, self.guests, self.settings = hosts, fencing, guests, settings
        self.driver = driver
        self.witness = None
        self.sizes = {}  # of volumes that have grown
        self.time = Timeline(self)

    def __enter__(self):
        try:
            self.boot()
        except BaseException:
            self.rig.down(keep=True)
            raise
        return self

    def boot(self):
        self.rig.down()
        self.rig.up(self.hosts, **self.settings)
        self.rig.enter()
        for n in self.rig.hosts():
            self.rig.power("on", "node%d" % n)
        self.time.start = time.time()
        for n in self.rig.hosts():
            self.rig.wait_ready(n)
            self.time.mark("node%d booted" % n)
        self.slow = min(SLOW_MAX, max(1.0, (time.time() - self.time.start) / BOOT_S))
        self.rig.slow = self.slow
        if self.slow > 1.0:
            self.time.mark("this machine is %.1f times slower than a quiet one: all times are longer" % self.slow)

    def __exit__(self, kind, value, trace):
        self.time.end()
        if kind is not None:
            self.post_mortem()
        if self.witness is not None:
            self.witness.kill()
            self.witness.wait()
        if kind is None or not os.environ.get("LAB_KEEP"):
            self.rig.down(keep=kind is not None)
        return False

    def post_mortem(self):
        """Logs out of the hosts before they go."""
        sys.stderr.write(self.picture())
        for n in self.rig.hosts():
            rc, text = self.rig.sh(n, "xl list; tail -n 60 /var/log/picket/*.log; tail -n 20 /var/log/xen/*.log; dmesg | tail -n 20",
                                   seconds=60, check=False)
            path = self.rig.path("node%d" % n, "post-mortem.txt")
            with open(path, "w", encoding="utf-8") as f:
                f.write(text)
            sys.stderr.write("node%d: %s (exit %d)\n" % (n, path, rc))

    # --- the cluster ---

    def picket(self, *args, check_rc=True, stdin=None, timeout=120):
        env = dict(os.environ, PICKET_CONFIG=self.rig.path("witness/etc/admin.conf"))
        p = subprocess.run([self.rig.path("share/bin/picket")] + list(args), input=stdin, text=True, env=env,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout * self.slow, check=False)
        if check_rc and p.returncode != 0:
            raise Failed("picket %s: exit %d\n%s%s" % (" ".join(args), p.returncode, p.stdout, p.stderr))
        return p

    def raft(self):
        """Lines for picketd.conf."""
        return "raft-heartbeat-ms = %d\nraft-election-ms = %d\n" % (ELECTION_MS * self.slow / 8, ELECTION_MS * self.slow)

    def lease_s(self):
        return HOST_TIMEOUT_S * self.slow

    def start_witness(self):
        with open(self.rig.path("witness/picketd.log"), "ab") as log:
            self.witness = subprocess.Popen([self.rig.path("share/bin/picketd"), "--config",
                                             self.rig.path("witness/etc/picketd.conf")],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def found(self):
        """A cluster: first voter is a picketd in the lab's network, outside the hosts; each host joins as a voter."""
        etc = self.rig.path("witness/etc")
        os.makedirs(self.rig.path("witness"))
        self.picket("init", "--name", "witness", "--address", ",".join(addresses(3, self.links)), "--dir", etc, "--data",
                    self.rig.path("witness/data"), "--lab")
        with open(etc + "/picketd.conf", "a", encoding="ascii") as f:
            f.write(self.raft())
        self.start_witness()
        self.wait("the witness leads", lambda: self.picket("get", "hosts", check_rc=False).returncode == 0, 60)
        # One after the other: members change one at a time, and who comes in between is told to come again.
        for n in self.rig.hosts():
            self.enrol(n)
            self.wait("%d voters" % (1 + n), lambda n=n: len(self.voters()) == 1 + n, 180)
        self.time.mark("%d voters" % (1 + self.hosts))

    def install(self):
        """As docs/install.md says, without anything outside of the hosts; `svc boot` is its systemctl."""
        conf = """cat >>/etc/picket/agent.conf <<C
driver = xen
watchdog-socket = /run/picket/watchdog.sock
C
"""
        self.rig.sh(1, "set -e\npicket init --name node1 --address 10.77.0.11 --lab\n" + conf +
                    "printf '%s' >>/etc/picket/picketd.conf\n" % self.raft().replace("\n", "\\n") +
                    "mkdir -p ~/.picket && cp /etc/picket/admin.conf ~/.picket/config\nsync; svc boot")
        self.wait("node1 leads", lambda: self.rig.sh(1, "picket status", check=False)[0] == 0, 120)
        self.time.mark("node1 leads")
        etc = self.rig.path("witness/etc")
        os.makedirs(etc)
        for name in ("admin.conf", "tls/ca.crt", "tls/admin.crt", "tls/admin.key"):
            path = os.path.join(etc, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as f:
                f.write(self.rig.sh(1, "cat /etc/picket/" + name).replace("/etc/picket/tls/", etc + "/tls/"))
        for n in self.rig.hosts()[1:]:
            token = self.rig.sh(1, "picket token create --voter").strip()
            ends = ",".join("10.77.0.1%d:7443" % i for i in [n] + [h for h in self.rig.hosts() if h != n])
            self.rig.sh(n, "set -e\npicket join %s --name node%d --address 10.77.0.1%d --lab\n" % (token, n, n) + conf +
                        "printf '%s' >>/etc/picket/picketd.conf\n" % self.raft().replace("\n", "\\n") +
                        "sed -i '/^endpoints/d' /etc/picket/agent.conf\necho 'endpoints = %s' >>/etc/picket/agent.conf\n" % ends +
                        "sync; svc boot")
            self.wait("%d voters" % n, lambda n=n: len(self.voters()) == n, 180)
            self.time.mark("node%d joined" % n)

    def voters(self):
        p = self.picket("member", "list", "-o", "json", check_rc=False)
        return [m for m in json.loads(p.stdout)["items"] if m["role"].lower() == "voter"] if p.returncode == 0 else []

    def enrol(self, n):
        token = self.picket("token", "create", "--voter").stdout.strip()
        ends = ",".join(["10.77.0.1%d:7443" % i for i in [n] + [h for h in self.rig.hosts() if h != n]] + [WITNESS + ":7443"])
        self.rig.sh(n, """
            set -e
            picket join %s --name node%d --address %s --lab
            cd /etc/picket
            printf '%s' >>picketd.conf
            sed -i '/^endpoints/d' agent.conf
            cat >>agent.conf <<C
endpoints = %s
driver = %s
watchdog-socket = /run/picket/watchdog.sock
%sC
            sync
            svc boot""" % (token, n, ",".join(addresses(10 + n, self.links)), self.raft().replace("\n", "\\n"), ends, self.driver,
                           "dev-dir = /data/dev\n" if self.driver == "dev" else ""))
        self.time.mark("node%d enrolled" % n)

    def ready(self):
        """From booted hosts to guests that run."""
        if self.by_hand:
            self.install()
        else:
            self.found()
        if self.settings.get("storage", "mapped") == "mapped":
            self.make_group()
        self.apply(self.declared())
        self.time.watch()
        self.wait_hosts()
        self.wait_running(*self.names())
        for vm in self.names():
            self.wait_beat(vm, 0)
            self.time.mark("%s writes to its disk" % vm)

    def declared(self):
        timing = {"heartbeat": "%ds" % (HEARTBEAT_S * self.slow), "hostTimeout": "%ds" % self.lease_s()}
        if self.book:
            with open(os.path.join(labrig.HERE, "book.yaml"), encoding="utf-8") as f:
                text = f.read().replace("heartbeat: 5s, hostTimeout: 60s", "heartbeat: %(heartbeat)s, hostTimeout: %(hostTimeout)s" % timing)
            return text.replace("commitTimeout: 50s", "commitTimeout: %ds" % (50 * self.slow))
        return objects(timing, self.hosts, self.fencing, self.guests, self.settings.get("luns", 1),
                       self.settings.get("storage", "mapped") != "mapped", links=self.links, chap=self.settings.get("chap"))

    def names(self):
        return [name for name, _ in self.guests]

    def make_group(self):
        self.rig.sh(1, """
            set -- /dev/disk/by-id/dm-uuid-mpath-*
            vgs vg0 >/dev/null 2>&1 || { pvcreate -qy $1 && vgcreate -q vg0 $1; }""")

    def apply(self, text, **kw):
        return self.picket("apply", "-f", "-", stdin=text, **kw)

    def change(self, vm, more, memory="96Mi"):
        """Apply one guest again, with more lines in its spec."""
        i = self.names().index(vm)
        self.apply("\n---\n".join(guest(i + 1, vm, self.guests[i][1], memory, more, size=self.sizes.get(vm, "16Mi"))) + "\n")

    # --- asking ---

    def get(self, kind, name):
        p = self.picket("get", kind, name, "-o", "json", check_rc=False)
        return json.loads(p.stdout) if p.returncode == 0 else {}

    def incarnation(self, host):
        """A member that boots may say that it knows no leader yet: asked again."""
        for _ in range(30):
            status = self.get("host", host).get("status")
            if status is not None:
                return status["incarnation"]
            time.sleep(1)
        raise Failed("nobody tells the incarnation of %s" % host)

    def items(self, kind):
        p = self.picket("get", kind, "-o", "json", check_rc=False)
        return json.loads(p.stdout)["items"] if p.returncode == 0 else []

    def phase(self, vm):
        return self.get("vm", vm).get("status", {}).get("phase", "")

    def host_of(self, vm):
        return self.get("vm", vm).get("status", {}).get("host", "")

    def condition(self, kind, name, cond):
        return next((c for c in self.get(kind, name).get("status", {}).get("conditions", []) if c["type"] == cond), {})

    def wait(self, what, fn, seconds=120, every=0.5):
        seconds *= self.slow
        end = time.monotonic() + seconds
        while True:
            v = fn()
            if v:
                return v
            if time.monotonic() > end:
                raise Failed("waited %d s for: %s" % (seconds, what))
            time.sleep(every)

    def wait_hosts(self, seconds=240, hosts=None):
        for n in hosts or self.rig.hosts():
            self.wait("node%d Ready" % n, lambda n=n: self.condition("host", "node%d" % n, "Ready").get("status") == "True", seconds)

    def wait_running(self, *vms, seconds=300):
        for vm in vms:
            self.wait("%s Running" % vm, lambda vm=vm: self.phase(vm) == "Running", seconds)

    def picture(self):
        out = ""
        for args in (["status"], ["get", "hosts,vm,locks,fencings", "-o", "wide"]):
            try:
                p = self.picket(*args, check_rc=False, timeout=30)
                out += p.stdout + p.stderr
            except (OSError, subprocess.TimeoutExpired) as e:
                out += "%s\n" % e
        return out

    # --- parts that scenarios share ---

    def take_over(self, vms, old, before, at, proof="Off", seconds=420):
        """The guests of a dead host run elsewhere, proved from their disks; the fencing has that proof."""
        for vm in vms:
            self.wait("%s runs elsewhere" % vm,
                      lambda vm=vm: self.phase(vm) == "Running" and self.host_of(vm) not in ("", old), seconds)
        for vm in vms:
            # Cut off, but not dead yet, the old one may write for a while: check_disks() says whether it wrote too long.
            wall, _, _ = self.wait_beat(vm, at * 1000, but=before[vm])
            self.time.mark("%s writes to its disk again, %.1f s after the end" % (vm, wall / 1000.0 - at))
        done = [f for f in self.items("fencings") if f["spec"]["host"] == old and f["status"].get("closed")]
        newest = max(done, key=lambda f: f["status"]["closed"], default={"status": {}})
        check(newest["status"].get("proof") == proof, "the fencing of %s: %s" % (old, newest["status"]))

    def back(self, name, seconds=400):
        """A fenced host is switched on again and is Ready under a new incarnation."""
        n = node(name)
        inc = self.incarnation(name)
        count = self.rig.ready_count(n)
        self.rig.power("on", name)
        self.rig.wait_ready(n, count)
        self.time.mark("%s booted again" % name)
        self.wait("%s Ready with a new incarnation" % name, lambda: self.incarnation(name) > inc, seconds)
        self.wait_hosts(seconds, [n])

    def on(self, vm, script, **kw):
        """In dom0 of the host that runs it."""
        return self.rig.sh(node(self.host_of(vm)), script, **kw)

    def guest_do(self, vm, command):
        """A line on the guest's console: its PID 1 carries it out."""
        self.on(vm, "echo '%s' >$(xenstore-read /local/domain/$(xl domid %s)/console/tty)" % (command, vm))

    def instance(self, vm):
        b = disk.last_beat(self.beats(), vm)
        return b[1] if b else None

    def still(self, vms, seconds, what):
        """For so long each of them goes on writing as the same instance, in no other place."""
        was = {vm: (self.instance(vm), self.host_of(vm)) for vm in vms}
        end = time.time() + seconds
        while time.time() < end:
            time.sleep(5)
            for vm in vms:
                check(self.instance(vm) == was[vm][0], "%s: another instance writes (%s)" % (vm, what))
        for vm in vms:
            self.wait_beat(vm, end * 1000 - 5000, 60)
            check((self.instance(vm), self.host_of(vm)) == was[vm], "%s is not where it was (%s)" % (vm, what))
        self.time.mark("%s: %s for %d s the same instances" % (what, ", ".join(vms), seconds))

    # --- what guests wrote ---

    def luns(self):
        return sorted(glob.glob(self.rig.path("lun*.img")))

    def beats(self):
        return disk.scan(self.luns())[0]

    def wait_beat(self, vm, after_ms, seconds=180, but=()):
        """Until the guest wrote something later than that, as none of these instances; (wall ms, instance, sequence)."""
        def fresh():
            b = disk.last_beat(self.beats(), vm)
            return b if b and b[0] > after_ms and b[1] not in but else None
        return self.wait("heartbeat of %s on its disk" % vm, fresh, seconds)

    def check_disks(self):
        guests, doubled = disk.scan(self.luns())
        wrong = disk.judge(guests, doubled)
        check(not wrong, "a guest ran twice:\n" + "\n".join(wrong))
        records = sum(len(r) for insts in guests.values() for r in insts.values())
        self.time.mark("disks: %d records of %d instances of %d guests, nothing ran twice" % (
            records, sum(len(i) for i in guests.values()), len(guests)))
        return guests


def node(n):
    return n if isinstance(n, int) else int(n[-1])


def addresses(last, links):
    """Of a host or the witness: one a link, the LAN first."""
    return ["10.77.%d.%d" % (i, last) for i in range(links)]


def guest(number, name, virt, memory="96Mi", more="", group="vg0", size="16Mi"):
    return ["""apiVersion: picket/v1
kind: Volume
metadata: {name: %s}
spec: {volumeGroup: %s, size: %s, access: Exclusive}""" % (name, group, size),
            """apiVersion: picket/v1
kind: VirtualMachine
metadata: {name: %s}
spec:
  virt: %s
  memory: %s
  migration: {timeout: 30m}
  boot:
    kernel: /guest/%s
    ramdisk: /guest/domu-initrd.gz
    args: console=hvc0 quiet lab.name=%s lab.ip=10.77.0.%d/24
  disks: [{name: root, volume: %s, target: xvda}]
  nics: [%s]%s""" % (name, virt, memory, "domu-vmlinuz" if virt == "HVM" else "domu-vmlinux", name, 100 + number, name, "{bridge: br0}" if number == 1 else "", "".join("\n  " + m for m in more.split("\n") if m))]


def host(n, fencing, links=1):
    """Live migrations go over the last link: the storage network, when the LAN is not the only one."""
    level = {"pdu": "rack-pdu", "ipmi": "node%d-bmc" % n, "watchdog": "watchdog", "storage": "san-cut"}[fencing]
    return ["""apiVersion: picket/v1
kind: FenceDevice
metadata: {name: node%d-bmc}
spec: {type: Ipmi, address: 10.77.0.2%d, username: admin, passwordRef: {secret: bmc, key: password}, cipher: 3}""" % (n, n),
            """apiVersion: picket/v1
kind: Host
metadata: {name: node%d}
spec:
  addresses: [%s]
  migrationAddress: %s
  fencing: [{devices: [%s]}]""" % (n, ", ".join(addresses(10 + n, links)), addresses(10 + n, links)[-1], level)]


FIXED = """apiVersion: picket/v1
kind: Cluster
metadata: {name: cluster}
spec:
  lab: true
  onQuorumLoss: Stop
  timing: {heartbeat: %(heartbeat)s, hostTimeout: %(hostTimeout)s}
  capacity: {tolerateHostFailures: 1, onOvercommit: Warn, dom0Memory: 576Mi}
  fencing: {action: Off, startupGrace: 1s, maxPerWindow: 10, maxPerHost: 10, window: 10m, minHealthy: 0}
---
apiVersion: picket/v1
kind: Secret
metadata: {name: pdu}
stringData: {community: lab-write}
---
apiVersion: picket/v1
kind: Secret
metadata: {name: bmc}
stringData: {password: secret}
---
apiVersion: picket/v1
kind: FenceDevice
metadata: {name: rack-pdu}
spec: {type: ApcSnmp, address: 10.77.0.2, communityRef: {secret: pdu, key: community}, outlets: Auto}
---
apiVersion: picket/v1
kind: FenceDevice
metadata: {name: watchdog}
spec: {type: Watchdog}"""
CUT = """apiVersion: picket/v1
kind: FenceDevice
metadata: {name: san-cut}
spec: {type: ScsiReservation, drainTime: 2s}"""


def chap_secret(words):
    """Names and passwords as the lab's setting has them: OURS PASSWORD THEIRS PASSWORD."""
    return """apiVersion: picket/v1
kind: Secret
metadata: {name: chap}
stringData: {ours: %s, theirs: %s}""" % (words.split()[1], words.split()[3])


def target(chap):
    text = """apiVersion: picket/v1
kind: ISCSITarget
metadata: {name: san}
spec:
  iqn: "iqn.2026-01.lab:store"
  portals: ["10.77.1.1:3260", "10.77.2.1:3260"]"""
    if not chap:
        return [text]
    return [chap_secret(chap), text + """
  chap: {username: %s, passwordRef: {secret: chap, key: ours}, mutualUsername: %s, mutualPasswordRef: {secret: chap, key: theirs}}"""
            % (chap.split()[0], chap.split()[2])]


def san(luns, initialise, reserve=False):
    docs = []
    for n in range(1, luns + 1):
        docs += ["""apiVersion: picket/v1
kind: LUN
metadata: {name: lun%d}
spec: {target: san, lun: %d}""" % (n, n),
                 """apiVersion: picket/v1
kind: VolumeGroup
metadata: {name: vg%d}
spec: {luns: [lun%d], initialise: %s, reservation: %s}""" % (n - 1, n, "true" if initialise else "false",
                                                          "PersistentReservation" if reserve else "None")]
    return docs


def network(hosts):
    return ["""apiVersion: picket/v1
kind: Bond
metadata: {name: bond0}
spec: {members: [lan0, lan1], mode: ActiveBackup, miimon: 100ms}""",
            """apiVersion: picket/v1
kind: Bridge
metadata: {name: br0}
spec:
  ports: [bond0]
  stp: false
  forwardDelay: 0s
  perHost:
""" + "\n".join("    node%d: {addresses: [10.77.0.1%d/24]}" % (n, n) for n in range(1, hosts + 1))]


def objects(timing, hosts, fencing, guests, luns=1, initialise=False, memory="96Mi", links=1, chap=None):
    """The book's cluster with the lab's addresses and small guests: YAML."""
    cut = fencing == "storage"
    docs = [FIXED % timing] + ([CUT] if cut else []) + target(chap) + san(luns, initialise, cut) + network(hosts)
    for n in range(1, hosts + 1):
        docs += host(n, fencing, links)
    for i, (name, virt) in enumerate(guests):
        # One after the other: two at once on a busy machine run into libxl's own timeout of 40 s.
        more = ["startAfter: [{vm: %s}]" % guests[i - 1][0]] if i > 0 else []
        docs += guest(i + 1, name, virt, memory, "\n".join(more + (["fencing: StorageOnly"] if cut else [])), "vg%d" % (i % luns))
    return "\n---\n".join(docs) + "\n"
