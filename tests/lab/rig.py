"""The machines of a lab: network namespace, SAN, power, and a way into each dom0.  Standard library only.

One lab has one name (LAB, else "lab") and one folder; several run side by side, since each has a namespace of its own
and all addresses are inside it.
"""
import ctypes
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BIN = os.environ.get("PICKET_BIN_DIR", os.path.join(ROOT, "build"))
PROGRAMS = ["picket", "picketd", "picket-agent", "picket-watchdog", "picket-fence", "picket-pdu", "picket-guest"]
LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
STATUS = re.compile(rb"LAB-STATUS=\d+\n\Z")
TOOLS = {"qemu-system-x86_64": "qemu-system-x86", "tgtd": "tgt", "ipmi_sim": "openipmi", "ip": "iproute2",
         "mmdebstrap": "mmdebstrap", "mke2fs": "e2fsprogs", "strip": "binutils"}

LAN_CONF = """name "%(name)s"
set_working_mc 0x20
  startlan 1
    addr %(address)s 623
    priv_limit admin
    allowed_auths_callback none md2 md5 straight
    allowed_auths_user none md2 md5 straight
    allowed_auths_operator none md2 md5 straight
    allowed_auths_admin none md2 md5 straight
    guid a123456789abcdefa123456789abcde%(n)d
  endlan
  chassis_control "%(chassis)s %(sock)s %(name)s"
  serial 15 127.0.0.1 %(port)d codec VM
  startnow false
  user 1 true "" "" user 10 none md2 md5 straight
  user 2 true "admin" "secret" admin 10 none md2 md5 straight
"""
BMC_EMU = """mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr
sel_enable 0x20 1000 0x0a
mc_enable 0x20
"""


class LabError(Exception):
    pass


def new_session():
    """In a child: a session of its own, with the priority of the old one (the kernel weighs sessions: sched(7), autogroup)."""
    try:
        with open("/proc/self/autogroup", encoding="ascii") as f:
            nice = f.read().split()[-1]
    except (OSError, IndexError):
        nice = "0"
    os.setsid()
    if nice != "0":
        try:
            with open("/proc/self/autogroup", "w", encoding="ascii") as f:
                f.write(nice)
        except OSError:
            pass  # slower, not wrong


def ip(*args, check=True):
    p = subprocess.run(["ip"] + list(args), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, text=True, check=False)
    if check and p.returncode != 0:
        raise LabError("ip %s: %s" % (" ".join(args), p.stdout.strip()))
    return p.stdout


class Rig:
    def __init__(self, name=None):
        self.name = name or os.environ.get("LAB", "lab")
        self.ns = "picket-" + self.name
        self.run = os.path.join(os.environ.get("LAB_RUN", "/var/tmp/picket-lab"), self.name)
        self.conf = {}
        self.inside = False
        self.slow = 1.0  # times longer is waited for everything (World)
        if os.path.exists(self.path("lab.json")):
            with open(self.path("lab.json"), encoding="ascii") as f:
                self.conf = json.load(f)

    def path(self, *parts):
        return os.path.join(self.run, *parts)

    def hosts(self):
        return list(range(1, self.conf["hosts"] + 1))

    # --- up and down ---

    def check_machine(self):
        if os.geteuid() != 0:
            raise LabError("the lab makes network namespaces and tap devices: run it as root")
        missing = sorted(p for t, p in TOOLS.items() if shutil.which(t, path=os.environ["PATH"] + ":/usr/sbin:/sbin") is None)
        if missing:
            raise LabError("Debian packages are missing: %s.  `make lab-deps` installs them." % " ".join(missing))
        if not os.path.exists("/dev/net/tun"):
            raise LabError("/dev/net/tun is missing: load the kernel module tun")
        for p in PROGRAMS:
            if not os.path.exists(os.path.join(BIN, p)):
                raise LabError("%s is not built: run make (or set PICKET_BIN_DIR)" % os.path.join(BIN, p))

    def up(self, hosts, **settings):
        """Everything but waiting for the hosts."""
        self.check_machine()
        if os.path.exists(self.path("power.ready")) or self.ns in ip("netns", "list").split():
            raise LabError("lab \"%s\" is up, or was not taken down: tests/lab/lab down" % self.name)
        more = settings.get("packages", "")
        env = dict(os.environ, LAB_PACKAGES=more) if more else None
        image = subprocess.run([os.path.join(HERE, "image.sh")], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               text=True, check=False, env=env)
        if image.returncode != 0:
            raise LabError("no image: see above")
        self.conf = {"hosts": hosts, "image": image.stdout.strip(), "memory": 1024, "dom0_memory": 512, "luns": 1,
                     "lun_mib": 256, "iqn": "iqn.2026-01.lab:store", "network": "bridged", "storage": "mapped",
                     "community": "lab-write", "pdu_fail": [], "dom0_extra": "", "xen_extra": ""}
        self.conf.update(settings)
        shutil.rmtree(self.run, ignore_errors=True)
        os.makedirs(self.path("share/bin"))
        with open(self.path("lab.json"), "w", encoding="ascii") as f:
            json.dump(self.conf, f, indent=1)
        self.share()
        for n in self.hosts():
            self.host_files(n)
        for n in range(1, self.conf["luns"] + 1):
            with open(self.path("lun%d.img" % n), "wb") as f:
                f.truncate(self.conf["lun_mib"] << 20)
        self.make_network()
        self.start_power()

    def share(self, bin_dir=None):
        """What the hosts see in /mnt/share: scripts and programs.  New programs get new files, old ones may run."""
        shutil.copytree(os.path.join(HERE, "node"), self.path("share/node"), dirs_exist_ok=True)
        os.makedirs(self.path("share/bin"), exist_ok=True)
        src = bin_dir or BIN
        for p in sorted(os.listdir(src)):
            if p in PROGRAMS or (p.startswith("picket-") and p.endswith(".so")):
                tmp = self.path("share/bin", ".new-" + p)
                subprocess.run(["strip", "-o", tmp, os.path.join(src, p)], check=True)
                os.rename(tmp, self.path("share/bin", p))

    def host_files(self, n):
        d = self.path("node%d" % n)
        os.makedirs(d + "/bmc")
        subprocess.run(["mke2fs", "-q", "-t", "ext4", "-E", "nodiscard", d + "/data.img", "192M"], check=True,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        with open(d + "/lan.conf", "w", encoding="ascii") as f:
            f.write(LAN_CONF % {"name": "node%d" % n, "n": n, "address": "10.77.0.2%d" % n, "port": 9010 + n,
                                "chassis": os.path.join(HERE, "chassis"), "sock": self.path("power.sock")})
        with open(d + "/bmc.emu", "w", encoding="ascii") as f:
            f.write(BMC_EMU)

    def make_network(self):
        """lan0 LAN 10.77.0, lan1 and lan2 storage 10.77.1 and 2, lan3 the lab's own way into dom0, 10.77.3."""
        ip("netns", "add", self.ns)
        lines = ["link set lo up"]
        for b in range(4):
            lines += ["link add lan%d type bridge stp_state 0 forward_delay 0" % b,
                      "addr add 10.77.%d.1/24 dev lan%d" % (b, b), "link set lan%d up" % b]
        # The PDU, the witness, the BMCs.
        for last in [2, 3] + [20 + n for n in self.hosts()]:
            lines.append("addr add 10.77.0.%d/24 dev lan0" % last)
        lines.append("addr add 10.77.1.3/24 dev lan1")  # the witness again: hosts with two links reach it over both
        for n in self.hosts():
            for i in range(5):
                lines += ["tuntap add t%d-%d mode tap" % (n, i),
                          "link set t%d-%d master lan%d up" % (n, i, 0 if i < 2 else i - 1)]
        p = subprocess.run(["ip", "-n", self.ns, "-batch", "-"], input="\n".join(lines) + "\n", text=True, check=False,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if p.returncode != 0:
            raise LabError("network of the lab: %s" % p.stdout.strip())

    def start_power(self):
        with open(self.path("power.log"), "ab") as log:
            p = subprocess.Popen(["ip", "netns", "exec", self.ns, sys.executable, os.path.join(HERE, "power.py"), self.run],
                                 stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=new_session)
        with open(self.path("power.pid"), "w", encoding="ascii") as f:
            f.write("%d\n" % p.pid)
        end = time.monotonic() + 30
        while not os.path.exists(self.path("power.ready")):
            if p.poll() is not None or time.monotonic() > end:
                with open(self.path("power.log"), encoding="utf-8", errors="replace") as f:
                    raise LabError("the lab's power did not start: %s" % f.read()[-2000:])
            time.sleep(0.05)

    def down(self, keep=False):
        """Ends everything of this lab by its pid and removes what it made."""
        try:
            with open(self.path("power.pid"), encoding="ascii") as f:
                pid = int(f.read())
            with open("/proc/%d/cmdline" % pid, "rb") as f:
                if self.run.encode() in f.read():
                    os.kill(pid, signal.SIGTERM)
        except (OSError, ValueError):
            pass
        if self.ns in ip("netns", "list").split():
            for i in range(50):
                pids = [int(p) for p in ip("netns", "pids", self.ns).split() if int(p) != os.getpid()]
                if not pids:
                    break
                if i >= 20:
                    for p in pids:
                        try:
                            os.kill(p, signal.SIGKILL)
                        except ProcessLookupError:
                            pass
                time.sleep(0.1)
            ip("netns", "del", self.ns)
        if not keep:
            shutil.rmtree(self.run, ignore_errors=True)

    # --- inside ---

    def enter(self):
        """This process into the lab's network, for good."""
        if self.inside:
            return
        fd = os.open("/run/netns/" + self.ns, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if LIBC.setns(fd, CLONE_NEWNET) != 0:
                raise LabError("enter %s: %s" % (self.ns, os.strerror(ctypes.get_errno())))
        finally:
            os.close(fd)
        self.inside = True

    def power(self, *words, timeout=30):
        """One command to power.py; its answer."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(timeout)
            s.connect(self.path("power.sock"))
            s.sendall((" ".join(words) + "\n").encode())
            answer = s.makefile("r").readline().strip()
        if answer.startswith("error") or not answer:
            raise LabError("power %s: %s" % (" ".join(words), answer))
        return answer

    def ready_count(self, n):
        """How often host n has come up so far."""
        try:
            with open(self.path("node%d" % n, "console.log"), "rb") as f:
                return f.read().count(b"NODE-READY ")
        except FileNotFoundError:
            return 0

    def wait_ready(self, n, after=0, seconds=600):
        end = time.monotonic() + seconds * self.slow
        while self.ready_count(n) <= after:
            if time.monotonic() > end:
                raise LabError("node%d did not come up within %d s; its console ends with:\n%s"
                               % (n, seconds, self.console_tail(n)))
            time.sleep(0.25)

    def console_tail(self, n, lines=25):
        try:
            with open(self.path("node%d" % n, "console.log"), encoding="utf-8", errors="replace") as f:
                return "".join(f.readlines()[-lines:])
        except FileNotFoundError:
            return "(nothing)"

    def sh(self, n, script, seconds=120, check=True):
        """Run a bash script in dom0 of host n; its output.  With check=False: (status, output)."""
        self.enter()
        out = b""
        end = time.monotonic() + seconds * self.slow
        try:
            with socket.create_connection(("10.77.3.1%d" % n, 2323), timeout=5 * self.slow) as s:
                s.sendall(script.encode() + b"\nEND-OF-SCRIPT\n")
                while True:
                    s.settimeout(max(0.1, end - time.monotonic()))
                    data = s.recv(65536)
                    if not data:
                        break
                    out += data
                    # What the script left running in the background may keep the connection open.
                    if STATUS.search(out[-40:]):
                        break
        except OSError as e:
            if check:
                raise LabError("node%d: %s: %s\n%s" % (n, script[:80], e, out.decode("utf-8", "replace"))) from e
            return 255, "%s%s" % (out.decode("utf-8", "replace"), e)
        text, mark, status = out.decode("utf-8", "replace").rpartition("LAB-STATUS=")
        rc = int(status) if mark else 255
        text = text if mark else status
        if not check:
            return rc, text
        if rc != 0:
            raise LabError("node%d: exit %d: %s\n%s" % (n, rc, script[:200], text))
        return text

    def events(self):
        """[(wall seconds, text)] of what the power saw."""
        with open(self.path("events.log"), encoding="utf-8") as f:
            return [(float(t), text) for t, _, text in (line.rstrip("\n").partition(" ") for line in f)]
