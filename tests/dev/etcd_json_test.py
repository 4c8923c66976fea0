#!/usr/bin/env python3
"""Programs written against etcd's JSON gateway run unchanged: the examples of etcd 3.4's own documentation (dev-guide,
api_grpc_gateway.md) by curl, and what else such programs do, given to a picketd and, where etcd is installed, to an etcd next
to it.  Answers have to be equal to the field, but for ids, for where revisions begin, and that the grant of a lease makes a revision."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "bench"))
import stores  # noqa: E402

BIN = os.environ.get("PICKET_BIN_DIR", os.path.join(stores.ROOT, "build"))
REVISIONS = ("revision", "create_revision", "mod_revision", "compact_revision")

# From the documentation, in its order; "R+n" is n revisions behind where the store began.
DOCUMENTED = [
    ("kv/put", '{"key": "Zm9v", "value": "YmFy"}', {"header": 1}),
    ("kv/range", '{"key": "Zm9v"}', {"kvs": [{"key": "Zm9v", "create_revision": "R+1", "mod_revision": "R+1", "version": "1",
                                             "value": "YmFy"}], "count": "1", "header": 1}),
    ("kv/range", '{"key": "Zm9v", "range_end": "Zm9w"}',
     {"kvs": [{"key": "Zm9v", "create_revision": "R+1", "mod_revision": "R+1", "version": "1", "value": "YmFy"}], "count": "1",
      "header": 1}),
    ("kv/txn", '{"compare":[{"target":"CREATE","key":"Zm9v","createRevision":"R+1"}],"success":[{"requestPut":{"key":"Zm9v",'
               '"value":"YmFy"}}]}',
     {"succeeded": True, "responses": [{"response_put": {"header": {"revision": "R+2"}}}], "header": 1}),
    ("kv/txn", '{"compare":[{"version":"2","result":"EQUAL","target":"VERSION","key":"Zm9v"}],"success":[{"requestRange":'
               '{"key":"Zm9v"}}]}',
     {"succeeded": True, "responses": [{"response_range": {"header": {"revision": "R+2"}, "kvs": [
         {"key": "Zm9v", "create_revision": "R+1", "mod_revision": "R+2", "version": "2", "value": "YmFy"}], "count": "1"}}],
      "header": 1}),
]

# What else programs send; compared with etcd only.
MORE = [
    ("kv/put", '{"key":"Zm9v","value":"Mg==","prev_kv":true}'),
    ("kv/put", '{"key":"Zm9v","ignore_value":true}'),
    ("kv/put", '{"key":"bm9uZQ==","ignore_value":true}'),
    ("kv/put", '{"key":"Zm9vMg==","value":"YmFy"}'),
    ("kv/put", '{"key":"Zm9vMw==","value":""}'),
    ("kv/put", '{"value":"YmFy"}'),
    ("kv/put", '{"key":"Zm9v","lease":"77"}'),
    ("kv/range", '{"key":"Zm9v","range_end":"Zm9w","limit":"2"}'),
    ("kv/range", '{"key":"Zm9v","range_end":"Zm9w","count_only":true}'),
    ("kv/range", '{"key":"Zm9v","range_end":"Zm9w","keys_only":true,"sort_order":"DESCEND","sort_target":"KEY"}'),
    ("kv/range", '{"key":"Zm9v","range_end":"Zm9w","sort_order":"ASCEND","sort_target":"MOD"}'),
    ("kv/range", '{"key":"Zm9v","range_end":"Zm9w","min_mod_revision":"R+4"}'),
    ("kv/range", '{"key":"AA==","range_end":"AA==","serializable":true}'),
    ("kv/range", '{"key":"Zm9v","revision":"R+1"}'),
    ("kv/range", '{"key":"Zm9v","revision":"R+1000"}'),
    ("kv/range", '{"key":"bm9uZQ=="}'),
    ("kv/range", '{}'),
    ("kv/txn", '{"compare":[{"target":"VALUE","key":"Zm9v","value":"eA=="}],"success":[{"requestPut":{"key":"Zm9v","value":'
               '"YQ=="}}],"failure":[{"requestRange":{"key":"Zm9v"}},{"requestDeleteRange":{"key":"Zm9vMw==","prev_kv":true}}]}'),
    ("kv/txn", '{"compare":[{"target":"MOD","result":"GREATER","key":"Zm9v","modRevision":"R+1"}],"success":[]}'),
    ("kv/txn", '{"success":[{"requestPut":{"key":"YQ==","value":"YQ=="}},{"requestPut":{"key":"YQ==","value":"Yg=="}}]}'),
    ("kv/deleterange", '{"key":"Zm9vMg==","prev_kv":true}'),
    ("kv/deleterange", '{"key":"bm9uZQ=="}'),
    ("kv/deleterange", '{}'),
    ("lease/grant", '{"TTL":"60","ID":"77"}'),
    ("lease/grant", '{"TTL":"60","ID":"77"}'),
    ("kv/put", '{"key":"bGVhc2Vk","value":"YQ==","lease":"77"}'),
    ("kv/range", '{"key":"bGVhc2Vk"}'),
    ("lease/timetolive", '{"ID":"77","keys":true}'),
    ("lease/keepalive", '{"ID":"77"}'),
    ("lease/revoke", '{"ID":"77"}'),
    ("lease/revoke", '{"ID":"77"}'),
    ("lease/timetolive", '{"ID":"77"}'),
    ("kv/range", '{"key":"bGVhc2Vk"}'),
    ("kv/compaction", '{"revision":"R+3"}'),
    ("kv/compaction", '{"revision":"R+2"}'),
    ("kv/compaction", '{"revision":"R+9999"}'),
    ("kv/range", '{"key":"Zm9v","revision":"R+1"}'),
    ("kv/put", '{"key":"%%%"}'),
    ("kv/put", '{"key"'),
    ("kv/unknown", '{}'),
]


class Failed(Exception):
    pass


class Side:
    def __init__(self, store):
        self.store = store
        host, port = store.api[0]
        if store.name == "picket":
            p = store.pki
            self.curl = ["curl", "-sS", "--cacert", p + "/ca.crt", "--cert", p + "/load.crt", "--key", p + "/load.key"]
            self.url = "https://%s:%d/v3/" % (host, port)
        else:
            self.curl = ["curl", "-sS"]
            self.url = "http://%s:%d/v3/" % (host, port)
        self.base = int(self.ask("kv/range", '{"key":"AQ=="}')[1]["header"]["revision"])

    def run(self, *args):
        p = subprocess.run(self.curl + list(args), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=30)
        return p.stdout

    def shift(self, body):
        """R+n -> a number."""
        out, at = "", 0
        while True:
            i = body.find('"R+', at)
            if i < 0:
                return out + body[at:]
            j = body.index('"', i + 1)
            out += body[at:i] + '"%d"' % (self.base + int(body[i + 3:j]))
            at = j + 1

    def ask(self, path, body):
        """As the documentation does it: curl -L URL -X POST -d BODY."""
        out = self.run("-L", self.url + path, "-X", "POST", "-d", self.shift(body), "-w", "\n%{http_code}")
        text, code = out.rsplit("\n", 1)
        try:
            return int(code), json.loads(text)
        except ValueError:
            return int(code), text.strip()

    def alike(self, v, key=None):
        """Without what differs by nature: ids, terms; revisions from where the store began."""
        if isinstance(v, dict):
            if key == "header" and "cluster_id" in v:
                return {k: "R+%d" % (int(v["revision"]) - self.base) if k == "revision" else "id" for k in v}
            return {k: self.alike(x, k) for k, x in v.items()}
        if isinstance(v, list):
            return [self.alike(x) for x in v]
        return "R+%d" % (int(v) - self.base) if key in REVISIONS and v != "0" else v

    def watch(self):
        """The documented watch: curl -N in the background, and a put."""
        p = subprocess.Popen(self.curl + ["-N", self.url + "watch", "-X", "POST", "-d", '{"create_request": {"key":"Zm9v"} }'],
                             stdout=subprocess.PIPE, text=True)
        try:
            first = json.loads(p.stdout.readline())
            self.ask("kv/put", '{"key": "Zm9v", "value": "YmFy"}')
            second = json.loads(p.stdout.readline())
        finally:
            p.kill()
            p.wait()
        return self.alike(first), self.alike(second)


def check_documented(side):
    for path, body, want in DOCUMENTED:
        code, got = side.ask(path, body)
        seen = side.alike(got)
        if "header" in want:
            if sorted(seen.get("header", {})) != ["cluster_id", "member_id", "raft_term", "revision"]:
                raise Failed("%s: %s: header of %s" % (side.store.name, path, got))
            seen["header"] = 1
        if code != 200 or seen != want:
            raise Failed("%s: %s %s: %d %s instead of %s" % (side.store.name, path, body, code, seen, want))
    first, second = side.watch()
    if first["result"].get("created") is not True or [e["kv"]["value"] for e in second["result"]["events"]] != ["YmFy"]:
        raise Failed("%s: watch: %s %s" % (side.store.name, first, second))
    return first, second


def ttl_near(a, b):
    """Remaining seconds may differ by those that passed."""
    for v in (a, b):
        if isinstance(v, dict) and "TTL" in v and abs(int(v["TTL"]) - 60) <= 3:
            v["TTL"] = "60"


def check_equal(ours, theirs):
    bad = []
    for path, body in MORE:
        a, b = ours.ask(path, body), theirs.ask(path, body)
        x, y = ours.alike(a[1]), theirs.alike(b[1])
        for v in (x, y):
            ttl_near(v.get("result") if isinstance(v, dict) and "result" in v else v, None)
        if path == "kv/unknown" or body in ('{"key"', '{"key":"%%%"}'):  # texts of a Go library, not of etcd
            x = y = None
        if path == "lease/grant" and a[0] == 200:
            ours.base += 1  # the one difference: a lease is stored under a revision
            x = ours.alike(a[1])
        if (a[0], x) != (b[0], y):
            bad.append("%s %s\n    picket: %d %s\n    etcd:   %d %s" % (path, body, a[0], json.dumps(x, sort_keys=True), b[0],
                                                                   json.dumps(y, sort_keys=True)))
    if bad:
        raise Failed("%d of %d answers differ from etcd's:\n  %s" % (len(bad), len(MORE), "\n  ".join(bad)))


def main():
    if not shutil.which("curl"):
        sys.exit("curl is missing (make deps)")
    d = tempfile.mkdtemp(prefix="picket-etcd-json-")
    try:
        with stores.Picket(os.path.join(d, "picket"), BIN, n=1) as p:
            time.sleep(3)  # what a young cluster writes by itself is behind us
            ours = Side(p)
            first = check_documented(ours)
            if not shutil.which("etcd"):
                print("SKIPPED the comparison: etcd is not installed (package etcd-server)", file=sys.stderr)
            else:
                with stores.Etcd(os.path.join(d, "etcd"), n=1) as e:
                    theirs = Side(e)
                    other = check_documented(theirs)
                    if first != other:
                        raise Failed("watch: picket %s, etcd %s" % (first, other))
                    check_equal(ours, theirs)
    except Failed as e:
        sys.exit("FAILED: %s" % e)
    finally:
        shutil.rmtree(d, ignore_errors=True)
    print("ok")


main()
