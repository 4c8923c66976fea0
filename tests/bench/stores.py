"""Three members on loopback, ours or etcd's, for bench-store and torture.  Standard library only."""

import http.client
import json
import os
import random
import shutil
import signal
import socket
import ssl
import subprocess
import time
import uuid

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Failed(Exception):
    pass


def free_ports(n):
    """Ports that are free now; all held until all are known, so that they differ.  Below the range from which the kernel
    takes those of outgoing connections: one of them could have it when a server that was killed starts again."""
    socks = {}
    while len(socks) < n:
        port, s = random.randrange(10000, 20000), socket.socket()
        try:
            s.bind(("127.0.0.1", port))
            socks[port] = s
        except OSError:
            s.close()
    for s in socks.values():
        s.close()
    return list(socks)


def openssl(*args):
    p = subprocess.run(["openssl"] + list(args), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
    if p.returncode != 0:
        raise Failed("openssl %s: %s" % (" ".join(args), p.stderr))


def make_pki(folder, cluster, certs):
    """certs: [(file, role, name)]; writes FILE.crt, FILE.key and ca.crt."""
    os.makedirs(folder, exist_ok=True)
    ca, key = os.path.join(folder, "ca.crt"), os.path.join(folder, "ca.key")
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", ca,
            "-subj", "/CN=bench", "-days", "10", "-addext", "basicConstraints=critical,CA:TRUE",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    ext = os.path.join(folder, "ext")
    with open(ext, "w") as f:
        f.write("subjectAltName=URI:picket:%s,DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n"
                "keyUsage=critical,digitalSignature\n" % cluster)
    for name, role, cn in certs:
        base = os.path.join(folder, name)
        openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", base + ".key",
                "-out", base + ".csr", "-subj", "/O=%s/CN=%s" % (role, cn))
        openssl("x509", "-req", "-in", base + ".csr", "-CA", ca, "-CAkey", key, "-CAcreateserial", "-days", "10",
                "-extfile", ext, "-out", base + ".crt")


def cpu_seconds(pid):
    with open("/proc/%d/stat" % pid) as f:
        v = f.read().rsplit(")", 1)[1].split()
    return (int(v[11]) + int(v[12])) / os.sysconf("SC_CLK_TCK")


def rss_kib(pid):
    with open("/proc/%d/status" % pid) as f:
        for line in f:
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
    return 0


class Member:
    def __init__(self, name, args, log, env=None):
        self.name, self.args, self.log, self.env = name, args, log, env
        self.proc = None

    def start(self):
        with open(self.log, "a") as f:
            self.proc = subprocess.Popen(self.args, stdout=f, stderr=f, stdin=subprocess.DEVNULL, env=self.env)

    @property
    def pid(self):
        return self.proc.pid

    def alive(self):
        return self.proc is not None and self.proc.poll() is None

    def signal(self, sig):
        if self.alive():
            self.proc.send_signal(sig)

    def kill(self):
        if self.proc is not None:
            if self.alive():
                self.proc.send_signal(signal.SIGCONT)
                self.proc.kill()
            self.proc.wait()


class Store:
    """What both have in common.  `name`, `members`, `api` (host, port of each)."""

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, kind, value, trace):
        for m in self.members:
            m.kill()
        if kind is None and not self.keep:
            shutil.rmtree(self.dir, ignore_errors=True)
        return False

    def start(self):
        for m in self.members:
            m.start()
        self.wait_leader()

    def wait_leader(self, seconds=30):
        end = time.monotonic() + seconds
        while True:
            lead = self.leader()
            if lead is not None and self.serves(lead):
                return lead
            if time.monotonic() > end:
                raise Failed("%s: no leader after %d s, see %s" % (self.name, seconds, self.dir))
            time.sleep(0.05)

    def address(self, i):
        return "%s:%d" % self.api[i]

    def addresses(self):
        return ",".join(self.address(i) for i in range(len(self.members)))

    def cpu(self):
        return sum(cpu_seconds(m.pid) for m in self.members if m.alive())

    def serves(self, i):
        """Does a linearizable read answer?"""
        try:
            return "header" in self.post(i, "/v3/kv/range", {"key": "YQ=="}, timeout=2)
        except (OSError, http.client.HTTPException, ValueError):
            return False

    def connect(self, i, timeout):
        raise NotImplementedError

    def post(self, i, path, body, timeout=5):
        c = self.connect(i, timeout)
        try:
            c.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            return json.loads(c.getresponse().read())
        finally:
            c.close()

    def status(self, i, timeout=2):
        try:
            return self.post(i, "/v3/maintenance/status", {}, timeout)
        except (OSError, http.client.HTTPException, ValueError):
            return None

    def leader(self):
        """Index of the member that leads, by a majority's word; None: nobody."""
        votes = {}
        for i in range(len(self.members)):
            s = self.status(i) if self.members[i].alive() else None
            if s and s.get("leader", "0") != "0":
                votes[(int(s.get("raftTerm", 0)), s["leader"])] = votes.get((int(s.get("raftTerm", 0)), s["leader"]), 0) + 1
        for (_, lead), n in votes.items():
            if n * 2 > len(self.members):
                for i in range(len(self.members)):
                    if self.member_id(i) == lead:
                        return i
        return None


class Picket(Store):
    """relay(i, j): the port where member i reaches member j instead of j's own; env(i): more of its environment;
    data(i): its data folder, made already."""

    def __init__(self, folder, bin_dir, n=3, heartbeat=None, election=None, keep=False, relay=None, env=None, data=None):
        self.name, self.dir, self.keep = "picket", folder, keep
        cluster = str(uuid.uuid4())
        pki = os.path.join(folder, "pki")
        names = ["node%d" % (i + 1) for i in range(n)]
        make_pki(pki, cluster, [(x, "picket:voters", x) for x in names] + [("load", "picket:raw", "load"),
                                                                           ("admin", "picket:admins", "admin"),
                                                                           ("viewer", "picket:viewers", "viewer")])
        ports = free_ports(2 * n)
        self.api = [("127.0.0.1", p) for p in ports[:n]]
        self.peers = [("127.0.0.1", p) for p in ports[n:]]
        self.pki, self.cluster = pki, cluster
        self.members = []
        where = (lambda i: names[i] + ":7640") if relay else (lambda i: "127.0.0.1:%d" % self.peers[i][1])
        boot = ",".join("%d=%s@%s" % (i + 1, names[i], where(i)) for i in range(n))
        for i, x in enumerate(names):
            home = data(i) if data else os.path.join(folder, x)
            os.makedirs(home, exist_ok=True)
            args = [os.path.join(bin_dir, "picketd"), "--name", x, "--data", home, "--cluster", cluster,
                    "--listen-peer", "127.0.0.1:%d" % self.peers[i][1], "--listen-api", "127.0.0.1:%d" % self.api[i][1],
                    "--bootstrap", boot, "--tls-ca", pki + "/ca.crt", "--tls-cert", "%s/%s.crt" % (pki, x),
                    "--tls-key", "%s/%s.key" % (pki, x)]
            if heartbeat:
                args += ["--raft-heartbeat-ms", str(heartbeat), "--raft-election-ms", str(election)]
            more = dict(os.environ, **(env(i) if env else {}))
            if relay:
                more["PICKET_ADDRESS_MAP"] = os.path.join(folder, x + ".map")
                with open(more["PICKET_ADDRESS_MAP"], "w") as f:
                    for j in range(n):
                        f.write("%s:7640 127.0.0.1:%d\n" % (names[j], relay(i, j) if i != j else self.peers[j][1]))
            self.members.append(Member(x, args, os.path.join(folder, x + ".log"), more))
        self.context = ssl.create_default_context(cafile=pki + "/ca.crt")
        self.context.check_hostname = False
        self.context.load_cert_chain(pki + "/load.crt", pki + "/load.key")

    def load_args(self, proto):
        return ["--proto", proto, "--tls", "%s/load.crt,%s/load.key,%s/ca.crt" % (self.pki, self.pki, self.pki)]

    def connect(self, i, timeout):
        return http.client.HTTPSConnection(self.api[i][0], self.api[i][1], context=self.context, timeout=timeout)

    def member_id(self, i):
        return str(i + 1)


class Etcd(Store):
    def __init__(self, folder, n=3, heartbeat=None, election=None, keep=False):
        self.name, self.dir, self.keep = "etcd", folder, keep
        os.makedirs(folder, exist_ok=True)
        ports = free_ports(2 * n)
        self.api = [("127.0.0.1", p) for p in ports[:n]]
        names = ["e%d" % (i + 1) for i in range(n)]
        peers = ["http://127.0.0.1:%d" % p for p in ports[n:]]
        self.members, self.ids = [], {}
        for i, x in enumerate(names):
            c = "http://127.0.0.1:%d" % ports[i]
            args = ["etcd", "--name", x, "--data-dir", os.path.join(folder, x), "--listen-client-urls", c,
                    "--advertise-client-urls", c, "--listen-peer-urls", peers[i], "--initial-advertise-peer-urls", peers[i],
                    "--initial-cluster", ",".join("%s=%s" % (a, b) for a, b in zip(names, peers)),
                    "--quota-backend-bytes", str(6 << 30), "--logger", "zap", "--log-outputs", "stderr"]
            if heartbeat:
                args += ["--heartbeat-interval", str(heartbeat), "--election-timeout", str(election)]
            self.members.append(Member(x, args, os.path.join(folder, x + ".log")))

    def load_args(self, proto):
        return ["--proto", proto]

    def connect(self, i, timeout):
        return http.client.HTTPConnection(self.api[i][0], self.api[i][1], timeout=timeout)

    def member_id(self, i):
        if i not in self.ids:
            s = self.status(i)
            if s:
                self.ids[i] = s["header"]["member_id"]
        return self.ids.get(i)
