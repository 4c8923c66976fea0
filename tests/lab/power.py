#!/usr/bin/env python3
"""The power of a lab: owns the emulators of its hosts, and everything that stands beside them (SAN, PDU, BMCs).

    power.py RUN_DIR        (started by `lab up`, inside the lab's network namespace)

Whoever ends it ends all of it: each child dies with its parent.  It listens on RUN_DIR/power.sock, one line in, one
line out; the PDU and the BMCs speak it too:

    on HOST | off HOST | reboot HOST | reset HOST -> ok
    status HOST                                   -> on | off      the outlet: off is said when nothing runs any more
    chassis HOST                                  -> on | off      the machine: off also when it shut down by itself
    link HOST NIC up|down                         -> ok            nic0 nic1 LAN, nic2 nic3 storage, nic4 the lab's way in
    start NAME / stop NAME                        -> ok            tgtd, pdu, bmcN
    chap OURS PASSWORD THEIRS PASSWORD            -> ok            the target's accounts from now on
"""
import ctypes
import json
import os
import selectors
import shlex
import signal
import socket
import subprocess
import sys
import time

from rig import new_session

LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1


def with_parent():
    """In the child: end when the parent ends."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    new_session()


class Child:
    """A helper of the lab: started, stopped, logged."""

    def __init__(self, run, name, argv, env=None):
        self.run, self.name, self.argv = run, name, argv
        self.env = dict(os.environ, **(env or {}))
        self.proc = None

    def alive(self):
        return self.proc is not None and self.proc.poll() is None

    def start(self):
        if self.alive():
            return
        with open(os.path.join(self.run, self.name + ".log"), "ab") as log:
            self.proc = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                         env=self.env, preexec_fn=with_parent)

    def stop(self):
        if self.alive():
            self.proc.kill()
            self.proc.wait()


class Host:
    """One emulated machine on one outlet."""

    def __init__(self, lab, n):
        self.lab, self.n = lab, n
        self.name = "node%d" % n
        self.dir = os.path.join(lab.run, self.name)
        self.outlet = False
        self.proc = None
        self.qmp = None
        self.rest = b""

    def alive(self):
        return self.proc is not None and self.proc.poll() is None

    def argv(self):
        c, image = self.lab.conf, self.lab.conf["image"]
        argv = ["qemu-system-x86_64", "-name", self.name, "-uuid", "00000000-0000-4000-8000-00000000770%d" % self.n,
                # Never anything but TCG: see docs/lab.md.
                "-accel", "tcg,thread=multi,tb-size=512", "-cpu", "qemu64,+svm,+npt,+nrip-save", "-machine", "q35",
                "-smp", "1", "-m", str(c["memory"]), "-nodefaults", "-no-user-config", "-display", "none",
                "-chardev", "socket,id=ser,path=%s/serial.sock,server=on,wait=off,logfile=%s/console.log,logappend=on"
                % (self.dir, self.dir), "-serial", "chardev:ser",
                "-qmp", "unix:%s/qmp.sock,server=on,wait=off" % self.dir,
                "-device", "virtio-rng-pci", "-device", "i6300esb", "-action", "watchdog=reset",
                "-drive", "file=%s/root.ext4,format=raw,if=none,id=root,readonly=on,file.locking=off" % image,
                "-device", "virtio-blk-pci,drive=root",
                "-drive", "file=%s/data.img,format=raw,if=none,id=data,cache=writeback" % self.dir,
                "-device", "virtio-blk-pci,drive=data",
                "-virtfs", "local,path=%s/share,mount_tag=share,security_model=none,readonly=on" % self.lab.run]
        for i in range(5):
            argv += ["-netdev", "tap,id=n%d,ifname=t%d-%d,script=no,downscript=no" % (i, self.n, i), "-device",
                     "virtio-net-pci,id=nic%d,netdev=n%d,mac=52:54:00:77:%02x:%02x" % (i, i, i, self.n)]
        dom0 = "console=hvc0 quiet lab.id=%d lab.iqn=%s lab.network=%s lab.storage=%s %s" % (
            self.n, c["iqn"], c["network"], c["storage"], c["dom0_extra"])
        return argv + ["-kernel", image + "/xen",
                       "-append", "com1=115200 console=com1 dom0_mem=%dM,max:%dM %s" % (c["dom0_memory"], c["dom0_memory"],
                                                                                        c["xen_extra"]),
                       "-initrd", "%s/vmlinux %s,%s/initrd.gz" % (image, dom0, image)]

    def on(self):
        self.outlet = True
        if self.alive():
            return
        self.drop_qmp()
        for sock in ("serial.sock", "qmp.sock"):
            try:
                os.unlink(os.path.join(self.dir, sock))
            except FileNotFoundError:
                pass
        with open(os.path.join(self.dir, "qemu.log"), "ab") as log:
            self.proc = subprocess.Popen(self.argv(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                         preexec_fn=with_parent)
        self.lab.event("%s power on" % self.name)

    def off(self):
        """The cord is pulled: nothing is flushed, nothing is told."""
        self.outlet = False
        if self.alive():
            self.proc.kill()
            self.proc.wait()
            self.lab.event("%s power off" % self.name)
        self.drop_qmp()

    # --- the emulator's monitor: for cables, and to see resets ---

    def drop_qmp(self):
        if self.qmp is not None:
            self.lab.sel.unregister(self.qmp)
            self.qmp.close()
            self.qmp, self.rest = None, b""

    def connect_qmp(self):
        if self.qmp is not None or not self.alive():
            return
        s = socket.socket(socket.AF_UNIX)
        try:
            s.connect(os.path.join(self.dir, "qmp.sock"))
        except OSError:
            s.close()
            return
        self.qmp = s
        self.lab.sel.register(s, selectors.EVENT_READ, self.on_qmp)
        self.tell("qmp_capabilities")

    def tell(self, what, **arguments):
        if self.qmp is None:
            return False
        self.qmp.sendall(json.dumps({"execute": what, "arguments": arguments}).encode() + b"\n")
        return True

    def on_qmp(self, sock):
        try:
            data = sock.recv(65536)
        except OSError:
            data = b""
        if not data:
            self.drop_qmp()
            return
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            msg = json.loads(line)
            if "event" in msg and msg["event"] in ("RESET", "WATCHDOG", "SHUTDOWN", "GUEST_PANICKED"):
                self.lab.event("%s %s" % (self.name, msg["event"].lower()))
            elif "error" in msg:
                self.lab.event("%s monitor: %s" % (self.name, msg["error"].get("desc")))


class Lab:
    def __init__(self, run):
        self.run = run
        with open(os.path.join(run, "lab.json"), encoding="ascii") as f:
            self.conf = json.load(f)
        self.sel = selectors.DefaultSelector()
        self.events = open(os.path.join(run, "events.log"), "a", buffering=1, encoding="utf-8")
        self.hosts = {"node%d" % n: Host(self, n) for n in range(1, self.conf["hosts"] + 1)}
        self.children = {}

    def event(self, text):
        self.events.write("%.3f %s\n" % (time.time(), text))

    # --- helpers ---

    def add_children(self):
        tgt = {"TGT_IPC_SOCKET": os.path.join(self.run, "tgtd.sock")}
        sock = os.path.join(self.run, "power.sock")
        self.children["tgtd"] = Child(self.run, "tgtd", ["tgtd", "-f", "--iscsi",
                                                         "portal=10.77.1.1:3260,portal=10.77.2.1:3260"], tgt)
        self.children["pdu"] = Child(self.run, "pdu", [
            os.path.join(self.run, "share/bin/picket-pdu"), "--listen", "10.77.0.2:161", "--outlets",
            ",".join(self.hosts), "--community", self.conf["community"], "--control", sock]
            + [a for f in self.conf["pdu_fail"] for a in ("--fail", f)])
        for h in self.hosts.values():
            self.children["bmc%d" % h.n] = Child(self.run, "bmc%d" % h.n, [
                "ipmi_sim", "-n", "-c", "%s/lan.conf" % h.dir, "-f", "%s/bmc.emu" % h.dir, "-s", h.dir + "/bmc"])

    def adm(self, *args):
        env = dict(os.environ, TGT_IPC_SOCKET=os.path.join(self.run, "tgtd.sock"))
        return subprocess.run(["tgtadm", "--lld", "iscsi"] + list(args), env=env, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, text=True)

    def account(self, user, password, *direction):
        """A CHAP account of the target; one that is there gets the new password.  (None: it went well)"""
        self.adm("--op", "delete", "--mode", "account", "--user", user)
        for args in (["new", "--mode", "account", "--user", user, "--password", password],
                     ["bind", "--mode", "account", "--tid", "1", "--user", user] + list(direction)):
            p = self.adm("--op", *args)
            if p.returncode != 0:
                return "tgtadm %s of account %s: %s" % (args[0], user, p.stdout)
        return None

    def accounts(self, words):
        """OURS PASSWORD THEIRS PASSWORD: who logs in, and as what the target does."""
        return self.account(words[0], words[1]) or self.account(words[2], words[3], "--outgoing")

    def luns(self):
        """The SAN: one target, both portals, one LUN a file."""
        for _ in range(100):
            if self.adm("--op", "show", "--mode", "target").returncode == 0:
                break
            time.sleep(0.1)
        todo = [["--op", "new", "--mode", "target", "--tid", "1", "-T", self.conf["iqn"]]]
        for n in range(1, self.conf["luns"] + 1):
            unit = ["--mode", "logicalunit", "--tid", "1", "--lun", str(n)]
            todo.append(["--op", "new"] + unit + ["-b", "%s/lun%d.img" % (self.run, n)])
            todo.append(["--op", "update"] + unit + [
                "--params", "scsi_id=LAB-LUN%d,scsi_sn=lablun%d,vendor_id=LAB,product_id=DISK" % (n, n)])
        todo.append(["--op", "bind", "--mode", "target", "--tid", "1", "-I", "ALL"])
        for args in todo:
            p = self.adm(*args)
            if p.returncode != 0:
                raise SystemExit("power.py: tgtadm %s: %s" % (" ".join(args), p.stdout))
        wrong = self.accounts(self.conf["chap"].split()) if self.conf.get("chap") else None
        if wrong:
            raise SystemExit("power.py: " + wrong)

    # --- the control socket ---

    def command(self, words):
        verb, rest = words[0], words[1:]
        if verb in ("start", "stop") and rest and rest[0] in self.children:
            getattr(self.children[rest[0]], verb)()
            if words == ["start", "tgtd"]:
                self.luns()
            self.event("%s %s" % (rest[0], verb))
            return "ok"
        if verb == "chap" and len(rest) == 4:
            wrong = self.accounts(rest)
            self.event("the target has new passwords")
            return "error: " + wrong if wrong else "ok"
        host = self.hosts.get(rest[0]) if rest else None
        if host is None:
            return "error: no such host or helper in \"%s\"" % " ".join(words)
        if verb == "on":
            host.on()
        elif verb == "off":
            host.off()
        elif verb == "reboot":
            host.off()
            host.on()
        elif verb == "reset":
            host.connect_qmp()
            return "ok" if host.tell("system_reset") else "error: it is off"
        elif verb == "status":
            return "on" if host.outlet or host.alive() else "off"
        elif verb == "chassis":
            return "on" if host.alive() else "off"
        elif verb == "link" and len(rest) == 3:
            host.connect_qmp()
            self.event("%s %s %s" % (host.name, rest[1], rest[2]))
            return "ok" if host.tell("set_link", name=rest[1], up=rest[2] == "up") else "error: it is off"
        else:
            return "error: \"%s\" is not known" % verb
        return "ok"

    def on_client(self, server):
        conn, _ = server.accept()
        with conn:
            conn.settimeout(2)
            try:
                line = conn.makefile("r", encoding="utf-8").readline()
                words = shlex.split(line)
                answer = self.command(words) if words else "error: nothing said"
                conn.sendall((answer + "\n").encode())
            except (OSError, ValueError) as e:
                self.event("control: %s" % e)

    def serve(self):
        path = os.path.join(self.run, "power.sock")
        server = socket.socket(socket.AF_UNIX)
        server.bind(path)
        server.listen(16)
        self.sel.register(server, selectors.EVENT_READ, self.on_client)
        self.add_children()
        for name, child in self.children.items():
            child.start()
            if name == "tgtd":
                self.luns()
        with open(os.path.join(self.run, "power.ready"), "w", encoding="ascii") as f:
            f.write("%d\n" % os.getpid())
        while True:
            for key, _ in self.sel.select(timeout=1):
                key.data(key.fileobj)
            for h in self.hosts.values():
                h.connect_qmp()


def main():
    lab = Lab(sys.argv[1])

    def end(*_):
        for h in lab.hosts.values():
            h.off()
        for c in lab.children.values():
            c.stop()
        sys.exit(0)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    lab.serve()


if __name__ == "__main__":
    main()
