#!/usr/bin/env python3
"""The console of a guest, all the way: a person's terminal, any member, the agent of the guest's host, its terminal."""

import fcntl
import os
import pty
import random
import re
import select
import signal
import socket
import ssl
import subprocess
import sys
import termios
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import cluster as dev  # noqa: E402

VM = """
apiVersion: picket/v1
kind: VirtualMachine
metadata: {name: %s}
spec: {memory: 64Mi, runPolicy: %s}
"""


class Person:
    """`picket console` on a terminal of its own."""

    def __init__(self, c, *args, server=None, config=None, tty=True):
        config = config or os.path.join(c.dir, "kubeconfig")
        env = dict(os.environ, PICKET_CONFIG=config, PICKETCONFIG=config, PICKET_DEV_DIR=c.dir)
        argv = [os.path.join(dev.BIN, "picket"), "console"] + list(args)
        argv += ["--server", server] if server else []
        self.master, slave = pty.openpty()
        self.tty = tty
        self.was = termios.tcgetattr(slave)
        self.slave = slave
        self.err = b""
        self.out = bytearray()
        self.p = subprocess.Popen(argv, stdin=slave if tty else subprocess.DEVNULL, stdout=slave, stderr=subprocess.PIPE,
                                  env=env, start_new_session=True)
        for fd in (self.p.stderr.fileno(), self.master):
            fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_NONBLOCK)

    def __enter__(self):
        return self

    def __exit__(self, *what):
        if self.p.poll() is None:
            self.p.kill()
            self.p.wait()
        for f in (self.master, self.slave):
            os.close(f)
        self.p.stderr.close()
        return False

    def look(self, seconds=0.05, deaf=False):
        fds = [self.p.stderr.fileno()] + ([] if deaf else [self.master])
        for fd in select.select(fds, [], [], seconds)[0]:
            try:
                data = os.read(fd, 65536)
            except BlockingIOError:
                continue
            if fd == self.master:
                self.out += data
            else:
                self.err += data

    def see(self, text, seconds=20):
        """Wait until the guest has said it."""
        end = time.monotonic() + seconds
        while text.encode() not in self.out:
            dev.check(time.monotonic() < end and self.p.poll() is None,
                      "never saw %r; exit %s, saw %r, stderr %r" % (text, self.p.poll(), self.out[-300:], self.err))
            self.look()

    def prompt(self, vm):
        """It is open, and the guest answers."""
        self.hear("console of %s" % vm)
        self.out = bytearray()
        self.type("\r")
        self.see("%s> " % vm)

    def hear(self, text, seconds=20):
        """Wait until picket itself has said it."""
        end = time.monotonic() + seconds
        while text.encode() not in self.err:
            dev.check(time.monotonic() < end, "picket never said %r; stderr %r" % (text, self.err))
            self.look()

    def type(self, text):
        os.write(self.master, text.encode())

    def end(self, seconds=20):
        end = time.monotonic() + seconds
        while self.p.poll() is None:
            dev.check(time.monotonic() < end, "picket console does not end: %r %r" % (self.out[-300:], self.err))
            self.look()
        self.look(0.1)
        return self.p.returncode

    def restored(self):
        return termios.tcgetattr(self.slave)[3] == self.was[3]


def refused(c, code, text, *args, **kw):
    with Person(c, *args, **kw) as p:
        rc = p.end()
        dev.check(rc == code and text in p.err.decode(), "console %s: exit %d, not %d: %s" % (args, rc, code, p.err))


def servers(c):
    with open(os.path.join(c.dir, "kubeconfig")) as f:
        found = re.search(r'servers: "?([^"\n}]+)', f.read()).group(1)
    return [s.strip().replace("https://", "") for s in found.split(",")]


def talk(c):
    """Through every member: what is typed comes back, and ^] leaves the guest alone."""
    members = servers(c)
    dev.check(len(members) == 3, "members: %s" % members)
    for server in members:
        with Person(c, "web", server=server) as p:
            p.hear("console of web (/dev/pts/")
            p.out = bytearray()
            p.type("status\r")
            p.see("status\r\nweb on %s, " % c.host_of("web"))
            p.type("\x1d")
            dev.check(p.end() == 0 and b"the guest goes on" in p.err, "exit %d: %s" % (p.p.returncode, p.err))
            dev.check(p.restored(), "the terminal is left raw")
    dev.check(c.phase("web") == "Running", "web is %s" % c.phase("web"))
    tty = c.get("vm", "web")["status"].get("console", "")
    dev.check(tty.startswith("tty /dev/pts/"), "status.console: %r" % tty)
    dev.check(tty in c.run("describe", "vm", "web").stdout, "describe does not show the console")


def two(c):
    """One has it; the second is told who; with --take it changes hands."""
    with Person(c, "web") as a:
        a.prompt("web")
        refused(c, 4, "picket:admins", "web")
        with Person(c, "--take", "web") as b:
            b.hear("console of web")
            dev.check(a.end() == 1 and b"has taken the console of web over" in a.err, a.err)
            b.out = bytearray()
            b.type("help\r")
            b.see("poweroff")
            os.kill(b.p.pid, signal.SIGTERM)
            dev.check(b.end() == 0 and b.restored(), "SIGTERM: exit %d" % b.p.returncode)


def slow(c):
    """A person who does not read stops the guest's output, not picketd; everything comes in the end, in order."""
    want = 8 << 20
    with Person(c, "web") as p:
        p.prompt("web")
        p.out = bytearray()
        p.type("flood %d\r" % want)
        time.sleep(2)
        dev.check(c.phase("web") == "Running", "web is %s" % c.phase("web"))
        for pid in members_pids(c):
            rss = int(re.search(r"VmRSS:\s+(\d+)", open("/proc/%d/status" % pid).read()).group(1))
            dev.check(rss < 200000, "picketd %d uses %d KiB" % (pid, rss))
        end = time.monotonic() + 60
        while len(p.out) < want:
            dev.check(time.monotonic() < end, "only %d bytes came" % len(p.out))
            p.look()
        p.see("web> ")
        body = p.out[p.out.index(b"\r\n") + 2:]
        line = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.\r\n"
        ref = (line * (want // len(line) + 1))[:want]
        at = next((i for i in range(want) if body[i] != ref[i]), None)
        dev.check(at is None, "garbled at %s: %r" % (at, body[(at or 0) - 100:(at or 0) + 100]))
        # one who leaves in the middle of it
        p.type("flood %d\r" % (48 << 20))
        time.sleep(0.5)
        p.p.kill()
        p.p.wait()
    with Person(c, "--take", "web") as p:
        p.see("0123456789")


def members_pids(c):
    out = []
    for pid in os.listdir("/proc"):
        if pid.isdigit():
            try:
                with open("/proc/%s/cmdline" % pid, "rb") as f:
                    cmd = f.read()
            except OSError:
                continue
            if c.dir.encode() in cmd and os.path.basename(cmd.split(b"\0")[0]) == b"picketd":
                out.append(int(pid))
    return out


def guest_ends(c):
    with Person(c, "web") as p:
        p.see("0123456789")  # still the flood
        p.type("\rreboot\r")
        rc = p.end()
        # what its agent finds out depends on how far the next start is
        said = (b"web has ended on", b"web was started again", b"web does not run on",
                b"what became of web")
        dev.check(rc == 1 and any(s in p.err for s in said), "%d %s" % (rc, p.err))
    c.wait_running("web")
    with Person(c, "web") as p:
        p.see("incarnation")
        p.see("web> ")
        c.run("delete", "vm", "web", timeout=60)
        dev.check(p.end() == 1 and b"web" in p.err, p.err)
    refused(c, 3, "web", "web")


def agent_ends(c):
    host = c.host_of("db")
    with Person(c, "db") as p:
        p.prompt("db")
        c.dev("kill", host, "agent")  # its supervisor starts it again
        dev.check(p.end() != 0 and b"the guest goes on" in p.err, p.err)
    dev.check(c.host_of("db") == host, "db moved")
    c.wait("the console is back", lambda: Person_ok(c, "db"), 30, 0.5)


def Person_ok(c, vm):
    with Person(c, vm) as p:
        try:
            p.hear("console of", 8)
        except dev.Failed:
            return False
        p.type("\x1d")
        return p.end() == 0


def dial(c, who, path, server=None, upgrade=True, rest=b""):
    """A connection that has asked for a console; what was answered, as (socket, status, text)."""
    host, port = (server or servers(c)[0]).rsplit(":", 1)
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ctx.check_hostname = False
    ctx.verify_mode = ssl.CERT_NONE
    ctx.load_cert_chain(os.path.join(c.dir, "pki", who + ".crt"), os.path.join(c.dir, "pki", who + ".key"))
    s = ctx.wrap_socket(socket.create_connection((host, int(port)), timeout=20))
    offer = "Connection: Upgrade\r\nUpgrade: picket-console/1\r\n" if upgrade else "Connection: close\r\n"
    s.sendall(("GET /apis/picket/v1/%s HTTP/1.1\r\nHost: x\r\n%s\r\n" % (path, offer)).encode() + rest)
    text = s.recv(65536).decode(errors="replace")
    return s, int(text.split()[1]), text


def rights(c):
    """Agents are not let in, nor as another host's; and a request that is no console is told so."""
    for who, path, upgrade, status, say in (
            ("node1-agent", "virtualmachines/db/console", True, 403, "may not use the console of db"),
            ("node1-agent", "virtualmachines/db/console", False, 403, "may not use the console of db"),
            ("node1-voter", "virtualmachines/db/console", True, 403, "may not use the console of db"),
            ("node1-agent", "hosts/node2/console", True, 403, "only the agent of node2"),
            ("admin", "hosts/node2/console", True, 403, "only the agent of node2"),
            ("admin", "virtualmachines/db/console", False, 400, "picket-console/1")):
        s, code, text = dial(c, who, path, upgrade=upgrade)
        dev.check(code == status and say in text, "%s %s: %s" % (who, path, text))
        s.close()


def gone(s):
    """The other side has ended the connection; what it said before."""
    data = b""
    try:
        while True:
            more = s.recv(65536)
            if not more:
                break
            data += more
    except OSError:
        pass
    s.close()
    return data


def hostile(c):
    """Frames that make no sense end their own connection and nothing else."""
    pids = members_pids(c)
    for junk in (b"\x00\x00\x00", b"\xff" * 5000, b"\x03\xff\xff", b"\x01\x00\x01\x00", b"\x04\x00\x00",
                 b"\x03\x00\x04ls\r\n" * 50, random.Random(1).randbytes(3000)):
        s, code, _ = dial(c, "admin", "virtualmachines/db/console", rest=junk)  # before it can be open
        dev.check(code == 101, "HTTP %d" % code)
        gone(s)
        s, code, _ = dial(c, "node3-agent", "hosts/node3/console")
        dev.check(code == 101, "HTTP %d" % code)
        try:
            s.sendall(junk)
        except OSError:
            pass  # it was dropped before the end of it
        gone(s)
    # an agent that takes the request and answers nonsense, or nothing more than half a frame
    host = c.host_of("db")
    server = servers(c)[0]
    for answer in (b"\x03\x00\x01x", b"\x02\x00\x01x" * 2, b"\x04\x00\x00", b"\x02\x00", random.Random(2).randbytes(100)):
        s, code, _ = dial(c, host + "-agent", "hosts/%s/console" % host, server)
        dev.check(code == 101, "HTTP %d" % code)
        with Person(c, "db", server=server) as p:
            asked = s.recv(65536)
            dev.check(asked[:1] == b"\x01" and b"db\0" in asked, "asked %r" % asked)
            s.sendall(answer)
            if answer == b"\x02\x00":
                s.close()
            dev.check(p.end(30) != 0 and p.restored(), "%r: %s" % (answer, p.err))
        s.close()
    dev.check(members_pids(c) == pids, "a picketd has ended: %s, now %s" % (pids, members_pids(c)))
    c.wait("the true agent is asked again", lambda: Person_ok(c, "db"), 30, 0.5)


def scripted(c):
    p = subprocess.run([os.path.join(dev.BIN, "picket"), "console", "-q", "db"], input=b"status\r\x1d", timeout=60,
                       env=dict(os.environ, PICKET_CONFIG=os.path.join(c.dir, "kubeconfig")), stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE)
    dev.check(p.returncode == 0 and p.stderr == b"", "piped: %d %s" % (p.returncode, p.stderr))


def test():
    with dev.Cluster(3) as c:
        c.wait_hosts()
        c.apply("\n---\n".join(VM % x for x in (("web", "Running"), ("db", "Running"), ("off", "Stopped"))))
        c.wait_running("web", "db")
        refused(c, 3, "nobody", "nobody")
        refused(c, 4, "does not run", "off")
        for story in (talk, two, slow, guest_ends, scripted, agent_ends, rights, hostile):
            story(c)


if __name__ == "__main__":
    dev.main(test)
