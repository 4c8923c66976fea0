#!/usr/bin/env python3
"""Start and end of dev clusters: twice, two at once, under load, by kill -9, as a user without rights.  Nothing stays."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import cluster as dev  # noqa: E402

BOOK = os.path.join(dev.ROOT, "examples", "book-cluster.yaml")
NOBODY = 65534


def left(folder):
    """Processes whose command line names the folder, this test's own excepted."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/cmdline" % pid, "rb") as f:
                words = f.read().split(b"\0")
        except OSError:
            continue
        if int(pid) != os.getpid() and os.path.basename(words[0]).startswith(b"picket") and any(
                folder.encode() in w for w in words):
            found.append((int(pid), b" ".join(words).decode(errors="replace")))
    return found


def gone(c, what):
    c.wait("no process after %s" % what, lambda: not left(c.dir), 15)


def status(c):
    return dev.json.loads(c.dev("status", "-o", "json").stdout)


def pid_of_supervisor(c):
    return status(c)["pid"]


def second_agent(c):
    """Another agent of the same host goes away again; the first one works on."""
    for pid, text in left(c.dir):
        with open("/proc/%d/cmdline" % pid, "rb") as f:
            argv = [w.decode() for w in f.read().split(b"\0")[:-1]]
        if os.path.basename(argv[0]) == "picket-agent":
            break
    p = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30, check=False)
    dev.check(p.returncode == 1 and "another picket-agent" in p.stdout, "exit %d: %s" % (p.returncode, p.stdout))
    dev.check((pid, text) in left(c.dir), "the first agent ended")


def twice(c):
    before = pid_of_supervisor(c)
    c.up()
    dev.check(pid_of_supervisor(c) == before, "the second up started another supervisor")
    p = c.run("dev", "up", "--dir", os.path.dirname(dev.ROOT), check_rc=False)
    dev.check(p.returncode == 1 and "neither empty nor a dev cluster" in p.stderr, "a foreign folder: %d %s" %
              (p.returncode, p.stderr))
    for args, word in ((["--hosts", "0"], "--hosts"), (["--voters", "2"], "--voters"), (["--timing", "1s"], "--timing"),
                       (["--timing", "50ms/300ms"], "hostTimeout"), (["--memory", "much"], "--memory")):
        p = c.run("dev", "up", "--dir", c.dir + "-none", *args, check_rc=False)
        dev.check(p.returncode == 2 and word in p.stderr, "up %s: %d %s" % (args, p.returncode, p.stderr))
    dev.check(not os.path.exists(c.dir + "-none"), "a refused up left a folder")


def two_at_once(c):
    with dev.Cluster(1) as other:
        other.wait("a quorum", lambda: other.run("get", "clusters", check_rc=False).returncode == 0, 30)
        ids = {status(x)["clusterID"] for x in (c, other)}
        dev.check(len(ids) == 2, "two clusters, one id: %s" % ids)
        env = dict(os.environ, PICKET_CONFIG=os.path.join(c.dir, "kubeconfig"))
        with open(os.path.join(other.dir, "kubeconfig")) as f:
            server = [line.split("//")[-1].strip() for line in f if "server:" in line][0]
        p = subprocess.run([os.path.join(dev.BIN, "picket"), "--server", server, "get", "vm"], env=env, text=True,
                           capture_output=True, timeout=60)
        dev.check(p.returncode == 1 and "certificate" in p.stderr, "the wrong cluster: %d %s" % (p.returncode, p.stderr))
    gone(other, "the end of the other cluster")
    dev.check(left(c.dir), "the end of one cluster was the end of both")


def under_load(c):
    c.apply(path=BOOK)
    c.wait_running("vm1", "vm2")
    codes, stop = [], threading.Event()

    def load():
        while not stop.is_set():
            p = c.run("--request-timeout", "3s", "apply", "-f", BOOK, check_rc=False)
            codes.append((p.returncode, p.stderr))

    threads = [threading.Thread(target=load) for _ in range(3)]
    for t in threads:
        t.start()
    time.sleep(1)
    c.down()
    stop.set()
    for t in threads:
        t.join()
    for rc, err in codes:
        dev.check(rc == 0 or (rc in (1, 5, 6, 7) and err.strip()), "an apply during down: %d %s" % (rc, err))
    dev.check(any(rc == 0 for rc, _ in codes), "no apply ever worked: %s" % codes[:3])
    gone(c, "down under load")


def killed(c):
    c.up()
    c.wait("what was there before", lambda: c.get("vm", "vm1"), 30)
    c.wait_running("vm1", "vm2")
    os.kill(pid_of_supervisor(c), signal.SIGKILL)
    gone(c, "kill -9 of the supervisor")
    c.up()
    c.wait_running("vm1", "vm2")
    c.check_single_writer()


def without_rights():
    if os.geteuid() != 0:
        return
    # Programs in a folder that everybody may read: the build folder may be private.
    with tempfile.TemporaryDirectory(prefix="picket-nobody-") as top:
        programs, home = os.path.join(top, "bin"), os.path.join(top, "home")
        os.chmod(top, 0o755)
        os.mkdir(programs)
        os.mkdir(home)
        os.chown(home, NOBODY, NOBODY)
        for name in os.listdir(dev.BIN):
            if name.startswith("picket"):
                path = os.path.join(dev.BIN, name)
                if os.path.isfile(path):
                    shutil.copy(path, programs)

        def picket(*args, **kw):
            return subprocess.run(["setpriv", "--reuid=%d" % NOBODY, "--regid=%d" % NOBODY, "--clear-groups",
                                   os.path.join(programs, "picket")] + list(args), text=True, capture_output=True,
                                  timeout=120, env={"HOME": home, "PATH": os.environ["PATH"]}, cwd="/", **kw)

        p = picket("dev", "up")
        dev.check(p.returncode == 0, "up without rights: %d %s%s" % (p.returncode, p.stdout, p.stderr))
        try:
            with open(BOOK) as f:
                p = picket("apply", "-f", "-", input=f.read())
            dev.check(p.returncode == 0, "apply without rights: %d %s" % (p.returncode, p.stderr))
            p = picket("wait", "vm/vm1", "vm/vm2", "--for=phase=Running", "--timeout", "60s")
            dev.check(p.returncode == 0, "wait without rights: %d %s" % (p.returncode, p.stderr))
        finally:
            p = picket("dev", "down")
        dev.check(p.returncode == 0, "down without rights: %d %s" % (p.returncode, p.stderr))
        dev.check(not left(home), "left: %s" % left(home))


def test():
    with dev.Cluster(3) as c:
        c.wait("a quorum", lambda: c.run("get", "clusters", check_rc=False).returncode == 0, 30)
        twice(c)
        second_agent(c)
        two_at_once(c)
        under_load(c)
        killed(c)
    gone(c, "down")
    without_rights()


dev.main(test)
