#!/usr/bin/env python3
"""The native protocol against real members, by a client that was written from docs/native-protocol.md alone: raw keys, leases,
watches, objects, rights, pipelining, and what a hostile client gets."""

import json
import os
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "bench"))
import stores  # noqa: E402

BIN = os.environ.get("PICKET_BIN_DIR", os.path.join(stores.ROOT, "build"))
RANGE, PUT, DELETE, TXN, GRANT, REVOKE, KEEPALIVE, TTL, WATCH, CANCEL, COMPACT, STATUS, OBJECT, SESSION, ONCE = range(1, 16)
HELLO, RESULT, ERROR, NUMBERS, EVENTS, MARK, END, NODE, REPLY, PIECE = range(10)
PREV, KEEP_VALUE, KEEP_LEASE, COUNT_ONLY, KEYS_ONLY, SERIALIZABLE, NO_PUT, NO_DELETE, PROGRESS = (1 << i for i in range(9))
E = {"NOT_FOUND": 2, "COMPACTED": 5, "DENIED": 12, "BAD_REQUEST": 16, "INVALID": 1, "UNSUPPORTED": 17, "TOO_LARGE": 23, "STALE": 19, "LIMIT": 11}


def pack(v):
    if v is None:
        return b"\xc0"
    if v is True or v is False:
        return b"\xc3" if v else b"\xc2"
    if isinstance(v, int):
        return bytes([v]) if v < 128 else b"\xcf" + struct.pack(">Q", v)
    if isinstance(v, str):
        v = v.encode()
    if isinstance(v, bytes):
        return b"\xc6" + struct.pack(">I", len(v)) + v
    return b"\xdc" + struct.pack(">H", len(v)) + b"".join(map(pack, v))


class Unpack:
    def __init__(self, b):
        self.b, self.at = b, 0

    def take(self, n):
        self.at += n
        return self.b[self.at - n:self.at]

    def num(self, n):
        return int.from_bytes(self.take(n), "big")

    def value(self):
        t = self.num(1)
        if t < 0x80:
            return t
        if t & 0xf0 == 0x90:
            return [self.value() for _ in range(t & 15)]
        if t & 0xe0 == 0xa0:
            return self.take(t & 31)
        if t == 0xc0:
            return None
        if t in (0xc2, 0xc3):
            return t == 0xc3
        if 0xc4 <= t <= 0xc6:
            return self.take(self.num(1 << (t - 0xc4)))
        if 0xcc <= t <= 0xcf:
            return self.num(1 << (t - 0xcc))
        if 0xd9 <= t <= 0xdb:
            return self.take(self.num(1 << (t - 0xd9)))
        if t in (0xdc, 0xdd):
            return [self.value() for _ in range(self.num(2 if t == 0xdc else 4))]
        raise ValueError("format %x" % t)


class Client:
    def __init__(self, store, i, who="load"):
        ctx = ssl.create_default_context(cafile=store.pki + "/ca.crt")
        ctx.check_hostname = False
        ctx.load_cert_chain("%s/%s.crt" % (store.pki, who), "%s/%s.key" % (store.pki, who))
        self.s = ctx.wrap_socket(socket.create_connection(store.api[i], timeout=20))
        self.buf, self.id, self.kept = b"", 0, {}
        self.s.sendall(b"GET /native HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c, picket/1\r\n\r\n")
        while b"\r\n\r\n" not in self.buf:
            self.fill()
        self.head, self.buf = self.buf.split(b"\r\n\r\n", 1)
        if self.head.startswith(b"HTTP/1.1 101"):
            self.hello = self.read()

    def fill(self):
        d = self.s.recv(65536)
        if not d:
            raise EOFError()
        self.buf += d

    def read(self):
        while len(self.buf) < 4 or len(self.buf) < 4 + struct.unpack("<I", self.buf[:4])[0]:
            self.fill()
        n = struct.unpack("<I", self.buf[:4])[0]
        v = Unpack(self.buf[4:4 + n]).value()
        self.buf = self.buf[4 + n:]
        return v

    def send(self, *args):
        self.id += 1
        b = pack([self.id] + list(args))
        self.s.sendall(struct.pack("<I", len(b)) + b)
        return self.id

    def answer(self, i):
        """The next message for request i, without its id."""
        while not self.kept.get(i):
            m = self.read()
            self.kept.setdefault(m[0], []).append(m[1:])
        return self.kept[i].pop(0)

    def call(self, *args):
        return self.answer(self.send(*args))

    def closed(self):
        """Read until the server ends the connection."""
        try:
            while True:
                self.fill()
        except (EOFError, OSError):
            return True

    def close(self):
        self.s.close()


def same(a, b, what):
    if a != b:
        raise stores.Failed("%s: %r, expected %r" % (what, a, b))


def error(m, name, words=""):
    if m[0] != ERROR or m[1] != E[name] or words not in m[2].decode():
        raise stores.Failed("expected %s \"%s\", got %r" % (name, words, m))


def raw_keys(c):
    m = c.call(PUT, "a", "1", 0, 0)
    same((m[0], m[2], m[3]), (RESULT, True, [[0, 0, []]]), "put")
    rev = m[1]
    m = c.call(PUT, "a", "2", 0, PREV)
    same(m[3][0][2][0][:2], [b"a", b"1"], "put with what was there")
    m = c.call(RANGE, "a", None, 0, 0, 0)
    same(m[3], [[2, 1, [[b"a", b"2", rev, rev + 1, 2, 0]]]], "get")
    same(c.call(RANGE, "a", None, 0, 0, rev)[3][0][2][0][1], b"1", "get at a revision")
    same(c.call(PUT, "a", None, 0, KEEP_VALUE)[0], RESULT, "put that keeps the value")
    same(c.call(RANGE, "a", None, 0, 0, 0)[3][0][2][0][1], b"2", "and it is kept")
    error(c.call(PUT, "nothing", None, 0, KEEP_VALUE), "NOT_FOUND")
    same(c.call(RANGE, "nothing", None, 0, SERIALIZABLE, 0)[3], [[2, 0, []]], "get of nothing")
    for k in "bcdef":
        c.call(PUT, k, "", 0, 0)
    m = c.call(RANGE, "b", "e", 2, 0, 0)
    same((m[3][0][1], [kv[0] for kv in m[3][0][2]]), (3, [b"b", b"c"]), "a limited range says that there is more")
    same(c.call(RANGE, "b", "", 0, COUNT_ONLY, 0)[3][0][1:], [5, []], "count from b on")
    same(c.call(RANGE, "a", "c", 0, KEYS_ONLY, 0)[3][0][2][0][1], None, "keys only")
    same(c.call(DELETE, "c", "e", PREV)[3][0][1], 2, "delete of a range")
    m = c.call(TXN, [[3, 0, "a", None, "2"], [0, 1, "b", None, 0]], [[0, "a", "3", 0, 0], [2, "a", None, 0, 0]], [[1, "a", None, 0]])
    same((m[2], [r[0] for r in m[3]], m[3][1][2][0][1]), (True, [0, 2], b"3"), "transaction")
    same(c.call(TXN, [[3, 0, "a", None, "2"]], [], [[2, "a", None, 0, 0]])[2], False, "transaction, else")
    error(c.call(RANGE, "a", None, 0, 0, 10**9), "COMPACTED", "future")
    error(c.call(PUT, "a", "x", 999, 0), "NOT_FOUND")
    m = c.call(STATUS)
    same((m[0], m[1]), (NODE, c.hello[3]), "status names the member of the hello")
    rev = c.call(STATUS)[2]
    same(c.call(COMPACT, rev)[0], NUMBERS, "compaction")
    error(c.call(RANGE, "a", None, 0, 0, 2), "COMPACTED", "compacted")
    error(c.call(WATCH, "a", None, 2, 0), "COMPACTED")


def leases(c):
    m = c.call(GRANT, 0, 3600)
    same((m[0], m[3]), (NUMBERS, 3600), "grant")
    lease = m[2]
    c.call(PUT, "leased", "x", lease, 0)
    same(c.call(TTL, lease)[3], 3600, "time to live")
    same(c.call(KEEPALIVE, lease)[2] >= 3599, True, "keep-alive")
    same(c.call(REVOKE, lease)[0], NUMBERS, "revoke")
    same(c.call(RANGE, "leased", None, 0, 0, 0)[3][0][1], 0, "its key is gone")
    error(c.call(KEEPALIVE, lease), "NOT_FOUND")
    error(c.call(GRANT, 0, 0), "INVALID")


class Counter:
    """Adds one to a key, each time exactly once: by a transaction that would be wrong if it were done twice, repeated under
    its number through any member until there is an answer."""

    def __init__(self, store):
        self.store, self.at, self.c, self.repeats = store, 0, None, 0

    def client(self):
        for _ in range(200):
            try:
                self.c = self.c or Client(self.store, self.at % 3)
                return self.c
            except (OSError, EOFError):
                self.at += 1
                time.sleep(0.05)
        raise stores.Failed("no member takes a connection")

    def ask(self, *args):
        for _ in range(400):
            c = self.client()
            try:
                m = c.call(*args)
                if m[0] != ERROR or m[1] not in (6, 7, 8, 9, 10, 11, 20):
                    return m
            except (OSError, EOFError):
                self.c = None
            self.repeats += 1
            self.at += 1
            if self.c:
                self.c.close()
            self.c = None
            time.sleep(0.05)
        raise stores.Failed("no answer: %r" % (args,))

    def run(self, session, times):
        for seq in range(1, times + 1):
            # "n" only ever grows by one: with the first compare a second execution would take the other branch
            m = self.ask(ONCE, session, seq, seq, TXN, [[0, 0, "once/n", None, seq - 1]], [[0, "once/n", str(seq), 0, 0]],
                         [[0, "once/twice", str(seq), 0, 0]])
            same((m[0], m[2]), (RESULT, True), "append %d" % seq)


def exactly_once(store, lead):
    c = Client(store, (lead + 1) % 3)
    m = c.call(SESSION, 3)
    same((m[0], m[3]), (NUMBERS, 1024), "a session and its window")
    session = m[2]
    first = c.call(ONCE, session, 1, 1, PUT, "once/a", "x", 0, 0)
    other = Client(store, lead)  # may not know the session yet
    same(other.call(ONCE, session, 1, 1, PUT, "once/a", "x", 0, 0), first, "the same answer by another member")
    same(c.call(RANGE, "once/a", None, 0, 0, 0)[3][0][2][0][4], 1, "it was put once")
    m = c.call(ONCE, session, 2, 1, GRANT, 0, 60)
    same(c.call(ONCE, session, 2, 1, GRANT, 0, 60)[1:3], m[1:3], "one lease")
    same(c.call(ONCE, session, 3, 3, DELETE, "once/a", None, 0)[0], RESULT, "delete")
    error(c.call(ONCE, session, 1, 1, PUT, "once/a", "x", 0, 0), "STALE", "acknowledged")
    error(c.call(ONCE, session, 5000, 3, PUT, "once/a", "x", 0, 0), "LIMIT", "ahead")
    error(c.call(ONCE, 999999, 1, 1, PUT, "once/a", "x", 0, 0), "STALE", "unknown")
    for s in range(1, session):  # those of the members themselves
        m = c.call(ONCE, s, 1, 1, PUT, "once/evil", "x", 0, 0)
        same((m[0], m[1] in (E["DENIED"], E["STALE"])), (ERROR, True), "session %d is not ours" % s)
    admin = Client(store, lead, "admin")
    error(admin.call(ONCE, session, 9, 3, PUT, "once/evil", "x", 0, 0), "DENIED", "not of this certificate")
    again = c.call(SESSION, 3)[2]
    error(c.call(ONCE, session, 4, 3, PUT, "once/a", "x", 0, 0), "STALE", "closed")
    for x in (c, other, admin):
        x.close()
    counter = Counter(store)
    kills, over = [0], []

    def kill_leaders():
        while not over and kills[0] < 8:
            time.sleep(0.3)
            i = store.wait_leader()
            store.members[i].kill()
            store.members[i].start()
            kills[0] += 1
    killer = threading.Thread(target=kill_leaders)
    killer.start()
    try:
        counter.run(again, 600)
    finally:
        over.append(True)
        killer.join()
    store.wait_leader()
    c = Client(store, 0)
    same(c.call(RANGE, "once/n", None, 0, 0, 0)[3][0][2][0][1::3], [b"600", 600], "600 times, each once")
    same(c.call(RANGE, "once/twice", None, 0, 0, 0)[3][0][1], 0, "none twice")
    bad = Client(store, 0)
    bad.send(ONCE, again, 1, 1, RANGE, "a", None, 0, 0, 0)
    same(bad.read()[1], ERROR, "a read is not done once")
    bad.close()
    c.close()
    same(kills[0] > 0 and counter.repeats > 0, True, "something was repeated")
    print("    %d leaders killed, %d repeats" % (kills[0], counter.repeats))


def pipelined(c):
    ids = [c.send(PUT, "p%d" % (i % 50), "v%d" % i, 0, 0) for i in range(3000)]  # more than the store's window
    revs = [c.answer(i)[1] for i in ids]
    same(len(set(revs)), 3000, "every put has a revision of its own")
    gets = [c.send(RANGE, "p%d" % i, None, 0, 0, 0) for i in range(50)]
    same([c.answer(g)[3][0][2][0][1] for g in gets], [b"v%d" % (2950 + i) for i in range(50)], "the last values")


def watches(c, other):
    w = c.send(WATCH, "w/", "w0", 0, PROGRESS)
    w2 = c.send(WATCH, "w/1", None, 0, PREV | NO_PUT)
    same([c.answer(w)[0], c.answer(w2)[0]], [NUMBERS, NUMBERS], "accepted")
    first = other.call(PUT, "w/1", "one", 0, 0)[1]
    other.call(TXN, [], [[0, "w/1", "two", 0, 0], [0, "w/2", "two", 0, 0], [0, "x", "no", 0, 0]], [])
    other.call(DELETE, "w/1", None, 0)
    seen = []
    while len(seen) < 4:
        m = c.answer(w)
        same(m[0], EVENTS, "events")
        seen += [(e[0], e[1][0], e[1][1], e[1][3] - first) for e in m[3]]
    same(seen, [(False, b"w/1", b"one", 0), (False, b"w/1", b"two", 1), (False, b"w/2", b"two", 1), (True, b"w/1", None, 2)], "events")
    m = c.answer(w2)
    same((len(m[3]), m[3][0][0], m[3][0][2][1]), (1, True, b"two"), "deletions only, with what was there")
    c.s.settimeout(20)
    mark = c.answer(w)  # of the revision that the member has reached: its own records may be newer
    same((len(mark), mark[0], mark[1] >= first + 2), (2, MARK, True), "a progress mark")
    same(c.call(CANCEL, w)[0], NUMBERS, "cancel")
    same(c.answer(w)[0], END, "the watch's end")
    error(c.call(CANCEL, w), "NOT_FOUND")
    past = c.send(WATCH, "w/", "w0", first, 0)
    same(c.answer(past)[0], NUMBERS, "from the past")
    same(c.answer(past)[3][0][1][1], b"one", "begins there")


BASE = "/apis/picket/v1/"


def objects(c):
    m = c.call(OBJECT, "GET", BASE + "hosts", None)
    same((m[0], m[1], m[2]), (REPLY, 200, None), "list")
    same(json.loads(m[3])["kind"], "HostList", "list")
    w = c.send(OBJECT, "GET", BASE + "roles?watch=true", None)
    same(c.answer(w)[1], 200, "watch")
    role = {"apiVersion": "picket/v1", "kind": "Role", "metadata": {"name": "r1"},
            "spec": {"rules": [{"resources": ["virtualmachines"], "verbs": ["get"]}]}}
    m = c.call(OBJECT, "POST", BASE + "apply", json.dumps({"items": [role]}))
    if m[1] != 200:
        raise stores.Failed("apply: %r" % (m,))
    same(json.loads(m[3])["items"][0]["result"], "created", "apply")
    line = b""
    while b"\n" not in line:
        m = c.answer(w)
        same(m[0], PIECE, "a piece of the watch")
        line += m[1]
    ev = json.loads(line.split(b"\n")[0])
    same((ev["type"], ev["object"]["metadata"]["name"]), ("ADDED", "r1"), "the watch's event")
    same(c.call(OBJECT, "GET", BASE + "roles/r1", None)[1], 200, "get")
    m = c.call(OBJECT, "GET", BASE + "roles/none", None)
    same((m[1], m[2]), (404, b"ERR_NOT_FOUND"), "a missing object")
    m = c.call(OBJECT, "POST", BASE + "apply", '{"items": [{"kind": "Role"}]}')
    same(m[1] >= 400, True, "the same validation")
    same(c.call(OBJECT, "POST", BASE + "apply", "{not json")[1], 400, "bad JSON")
    error(c.call(OBJECT, "GET", "/v3/kv/range", None), "NOT_FOUND", "native protocol")
    error(c.call(OBJECT, "GET", "no slash", None), "BAD_REQUEST")
    same(c.call(CANCEL, w)[0], NUMBERS, "cancel of an object watch")
    same(c.answer(w)[0], END, "its end")


def rights(store, lead):
    v = Client(store, lead, "viewer")
    error(v.call(RANGE, "a", None, 0, 0, 0), "DENIED", "picket:raw")
    error(v.call(PUT, "a", "x", 0, 0), "DENIED")
    same(v.call(OBJECT, "GET", BASE + "hosts", None)[1], 200, "a viewer reads objects")
    same(v.call(OBJECT, "DELETE", BASE + "roles/r1", None)[1], 403, "and writes none")
    v.close()
    c = Client(store, lead)
    same(c.call(OBJECT, "GET", BASE + "hosts", None)[1], 403, "a program of the raw key space sees no objects")
    # Whatever the key is, it is one of the raw key space.
    c.call(PUT, "../o/hosts/evil", "x", 0, 0)
    same(c.call(RANGE, "\0", "", 0, COUNT_ONLY, 0)[3][0][1] > 0, True, "everything from the first key on")
    m = c.call(RANGE, "\0", "", 0, KEYS_ONLY, 0)
    same([k[0] for k in m[3][0][2] if k[0].startswith((b"o/", b"s/", b"r/"))], [], "and nothing outside")
    c.close()


def hostile(store, lead):
    def fresh():
        return Client(store, lead)

    for what, b in (("a huge frame", b"\xff\xff\xff\x7f"), ("an empty frame", b"\0\0\0\0"), ("no array", b"\x01\0\0\0\xc0"),
                    ("a cut array", b"\x02\0\0\0\x9f\x01"), ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
                    ("id 0", b"\x03\0\0\0\x92\x00\x0c"), ("deep nesting", struct.pack("<I", 10000) + b"\x91" * 10000)):
        c = fresh()
        c.s.sendall(b)
        m = c.read()
        same(m[1], ERROR, what)
        same(c.closed(), True, what + ": and the connection ends")
    c = fresh()
    same(c.call(99, 1, 2), [ERROR, E["UNSUPPORTED"], b"native request: call 99 is not known here"], "an unknown call may go on")
    same(c.call(STATUS)[0], NODE, "and it goes on")
    c.close()
    c = fresh()
    error(c.call(PUT, "big", b"x" * (1537 << 10), 0, 0), "BAD_REQUEST", "value")
    same(c.closed(), True, "a value that is too large ends the connection")
    c = fresh()
    c.s.sendall(struct.pack("<I", 1000) + b"\x95")  # half a frame, then gone
    c.close()
    c = fresh()
    for i in range(2000):  # asks a lot and reads nothing, then goes away in the middle
        c.send(RANGE, "\0", "", 0, 0, 0)
    c.s.close()
    for head in (b"GET /native HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /native HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
                 b"Connection: Upgrade\r\n\r\n", b"POST /native HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nUpgrade: picket/1\r\n\r\n"):
        h = store.connect(lead, 10)
        h.connect()
        h.sock.sendall(head)
        same(h.sock.recv(12) in (b"HTTP/1.1 400", b"HTTP/1.1 405"), True, "no upgrade")
        h.close()


def command_line(store):
    """picket kv"""
    conf = os.path.join(store.dir, "kubeconfig")
    with open(conf, "w") as f:
        json.dump({"apiVersion": "v1", "kind": "Config", "current-context": "c", "contexts": [
            {"name": "c", "context": {"cluster": "c", "user": "u"}}], "clusters": [{"name": "c", "cluster": {
                "server": "https://" + store.address(0), "certificate-authority": store.pki + "/ca.crt", "extensions": [
                    {"name": "picket", "extension": {"servers": ",".join("https://" + store.address(i) for i in range(3)),
                                                     "cluster": store.cluster}}]}}],
            "users": [{"name": "u", "user": {"client-certificate": store.pki + "/load.crt",
                                             "client-key": store.pki + "/load.key"}}]}, f)

    def kv(*args):
        p = subprocess.run([os.path.join(BIN, "picket"), "kv"] + list(args) + ["--kubeconfig", conf], stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, text=True, timeout=30)
        return p.returncode, p.stdout, p.stderr

    same(kv("put", "cli/a", "hello")[:2], (0, ""), "put")
    same(kv("put", "cli/b", "")[0], 0, "put of nothing")
    same(kv("get", "cli/a")[:2], (0, "cli/a\nhello\n"), "get")
    same(kv("list", "cli/", "--print-value-only")[:2], (0, "hello\n\n"), "list")
    same(kv("delete", "cli/a")[0], 0, "delete")
    code, _, text = kv("get", "cli/a")
    same((code, "no key" in text), (3, True), "get of nothing")
    code, out, _ = kv("status")
    same((code, "leader     " in out), (0, True), "status")
    same(kv("put", "cli/a")[0], 2, "usage")
    code, _, text = kv("get", "cli/b", "--rev", "999999999")
    same((code != 0, "future" in text), (True, True), "an error of the store")


def survives(store):
    for m in store.members:
        if not m.alive():
            raise stores.Failed("%s ended: see %s" % (m.name, m.log))


def main():
    folder = tempfile.mkdtemp(prefix="picket-native-")
    ok = False
    try:
        with stores.Picket(folder, BIN, keep=True) as store:
            lead = store.wait_leader()
            follower = (lead + 1) % 3
            c, f = Client(store, lead), Client(store, follower)
            same(c.hello[1:3], [HELLO, 1], "hello")
            for name, fn, args in (("raw keys", raw_keys, (c,)), ("leases by a follower", leases, (f,)),
                                   ("pipelined", pipelined, (f,)), ("watches by a follower", watches, (f, c)),
                                   ("objects", objects, (Client(store, follower, "admin"),)), ("rights", rights, (store, lead)),
                                   ("picket kv", command_line, (store,)),
                                   ("hostile", hostile, (store, lead)), ("exactly once", exactly_once, (store, lead))):
                fn(*args)
                survives(store)
                print("ok  " + name, flush=True)
            start = time.monotonic()
            lead = store.wait_leader()
            same(Client(store, lead).call(STATUS)[0], NODE, "still there")
            print("ok  serves after all of it (%.1f s)" % (time.monotonic() - start))
            ok = True
    finally:
        if ok:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            print("kept: %s" % folder)


if __name__ == "__main__":
    main()
