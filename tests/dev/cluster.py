"""A `picket dev` cluster for tests and the demo: start, ask, break, check.  Standard library only."""

import datetime
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.environ.get("PICKET_BIN_DIR", os.path.join(ROOT, "build"))


class Failed(Exception):
    pass


def now():
    return time.time()


def check(ok, text):
    if not ok:
        raise Failed(text)


def written(f):
    """The bytes of a sparse file that are no holes."""
    out, at = b"", 0
    try:
        while True:
            at = os.lseek(f.fileno(), at, os.SEEK_DATA)
            end = os.lseek(f.fileno(), at, os.SEEK_HOLE)
            out += os.pread(f.fileno(), end - at, at)
            at = end
    except OSError:
        return out


class Cluster:
    """Use as a context manager: leaves nothing running, and keeps the folder when a test failed."""

    def __init__(self, hosts=3, folder=None, keep=False):
        self.n = hosts
        self.dir = folder or tempfile.mkdtemp(prefix="picket-dev-")
        self.keep = keep
        self.up_args = []

    def __enter__(self):
        self.up()
        return self

    def __exit__(self, kind, value, trace):
        self.down()
        if kind is not None:
            sys.stderr.write("kept for inspection: %s\n" % self.dir)
        elif not self.keep:
            shutil.rmtree(self.dir, ignore_errors=True)
        return False

    # --- commands ---

    def run(self, *args, check_rc=True, stdin=None, timeout=60):
        env = dict(os.environ, PICKET_DEV_DIR=self.dir, PICKET_CONFIG=os.path.join(self.dir, "kubeconfig"),
                   PICKETCONFIG=os.path.join(self.dir, "kubeconfig"))
        p = subprocess.run([os.path.join(BIN, "picket")] + list(args), input=stdin, text=True, env=env,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout)
        if check_rc and p.returncode != 0:
            raise Failed("picket %s: exit %d\n%s%s" % (" ".join(args), p.returncode, p.stdout, p.stderr))
        return p

    def up(self):
        self.run("dev", "up", "--hosts", str(self.n), "--dir", self.dir, *self.up_args, timeout=120)

    def down(self):
        self.run("dev", "down", "--dir", self.dir, check_rc=False, timeout=60)

    def dev(self, *args, **kw):
        return self.run("dev", *args, "--dir", self.dir, **kw)

    def apply(self, text=None, path=None):
        return self.run("apply", "-f", path or "-", stdin=text)

    # --- reading ---

    def get(self, kind, name=None):
        args = ["get", kind] + ([name] if name else []) + ["-o", "json"]
        p = self.run(*args, check_rc=False)
        if p.returncode != 0:
            return None
        return json.loads(p.stdout)

    def items(self, kind):
        obj = self.get(kind)
        return obj["items"] if obj else []

    def phase(self, vm):
        obj = self.get("vm", vm)
        return obj.get("status", {}).get("phase", "") if obj else ""

    def host_of(self, vm):
        obj = self.get("vm", vm)
        return obj.get("status", {}).get("host", "") if obj else ""

    def condition(self, kind, name, cond):
        obj = self.get(kind, name)
        for c in (obj or {}).get("status", {}).get("conditions", []):
            if c["type"] == cond:
                return c
        return {}

    def wait(self, what, fn, seconds=60, every=0.1):
        """Wait until fn() is true; its value is returned."""
        end = time.monotonic() + seconds
        while True:
            v = fn()
            if v:
                return v
            if time.monotonic() > end:
                raise Failed("waited %d s for: %s\n%s" % (seconds, what, self.picture()))
            time.sleep(every)

    def wait_hosts(self, names=None, seconds=60):
        names = names or ["node%d" % (i + 1) for i in range(self.n)]

        def ready():
            return all(self.condition("host", n, "Ready").get("status") == "True" for n in names)

        self.wait("hosts %s ready" % ", ".join(names), ready, seconds)

    def wait_running(self, *vms, seconds=60):
        self.wait("%s running" % ", ".join(vms), lambda: all(self.phase(v) == "Running" for v in vms), seconds)

    def picture(self):
        out = ""
        for args in (["status"], ["get", "hosts,vm,locks,fencings", "-o", "wide"]):
            p = self.run(*args, check_rc=False)
            out += p.stdout + p.stderr
        return out

    # --- what the guests wrote ---

    def writers(self):
        """{disk: [(wall seconds, host, vm, incarnation, token)]} in file order, from every disk image."""
        disks = {}
        for path in sorted(glob.glob(os.path.join(self.dir, "san", "**", "*.img"), recursive=True)):
            lines = []
            with open(path, "rb") as f:
                for raw in written(f).split(b"\n"):
                    m = re.match(rb"\d+ (\d+) (\S+) (\S+) (\d+) (\d+) ", raw.strip(b"\0 "))
                    if m:
                        lines.append((int(m.group(1)) / 1000.0, m.group(2).decode(), m.group(3).decode(),
                                      int(m.group(4)), int(m.group(5))))
            disks[os.path.relpath(path, os.path.join(self.dir, "san"))] = lines
        return disks

    def check_single_writer(self):
        """No two holders of the lock wrote to one disk in turns: after a new token began, the old one is silent.
        Returns the number of lines that were looked at."""
        total = 0
        for disk, lines in self.writers().items():
            ended = set()
            last = None
            for t, host, vm, inc, token in lines:
                who = (host, inc, token)
                if who != last:
                    check(who not in ended, "%s: %s (incarnation %d, token %d) wrote again after another had begun" %
                          (disk, host, inc, token))
                    if last is not None:
                        ended.add(last)
                    last = who
                total += 1
        return total

    # --- logs ---

    def log_lines(self, pattern, since=0.0):
        """[(seconds since the epoch, host, text)] of picketd and agent logs that match."""
        found = []
        rx = re.compile(pattern)
        for path in glob.glob(os.path.join(self.dir, "hosts", "*", "log", "*.log")):
            host = path.split(os.sep)[-3]
            with open(path, errors="replace") as f:
                for line in f:
                    m = re.match(r"(?:<\d>)?(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3})Z (.*)", line)
                    if not m or not rx.search(line):
                        continue
                    t = datetime.datetime.strptime(m.group(1), "%Y-%m-%dT%H:%M:%S.%f")
                    t = t.replace(tzinfo=datetime.timezone.utc).timestamp()
                    if t >= since:
                        found.append((t, host, m.group(2)))
        return sorted(found)


def main(test):
    """Run one test function as a script."""
    try:
        test()
    except Failed as e:
        sys.stderr.write("FAILED: %s\n" % e)
        sys.exit(1)
    print("ok")
