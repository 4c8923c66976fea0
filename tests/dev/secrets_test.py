#!/usr/bin/env python3
"""Secrets for hosts: an agent gets what an object of its host refers to, and nothing else; nobody else gets anything; no
value shows up in the API, in a log or in a status."""

import http.client
import json
import os
import ssl
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import cluster as dev  # noqa: E402
import picketds  # noqa: E402

OBJECTS = """
apiVersion: picket/v1
kind: Secret
metadata: {name: san}
stringData: {password: geheim-eins, mutualPassword: geheim-zwei, other: geheim-drei}
---
apiVersion: picket/v1
kind: ISCSITarget
metadata: {name: everywhere}
spec:
  iqn: iqn.2026-01.example:one
  portals: [10.0.0.1]
  chap: {username: we, passwordRef: {secret: san, key: password}, mutualUsername: they,
         mutualPasswordRef: {secret: san, key: mutualPassword}}
---
apiVersion: picket/v1
kind: ISCSITarget
metadata: {name: elsewhere}
spec:
  iqn: iqn.2026-01.example:two
  portals: [10.0.0.1]
  hosts: [node2]
  chap: {username: we, passwordRef: {secret: san, key: other}}
---
apiVersion: picket/v1
kind: ISCSITarget
metadata: {name: dangling}
spec:
  iqn: iqn.2026-01.example:three
  portals: [10.0.0.1]
  chap: {username: we, passwordRef: {secret: missing, key: password}}
---
apiVersion: picket/v1
kind: VirtualMachine
metadata: {name: screen}
spec:
  runPolicy: Stopped
  memory: 64Mi
  graphics: {type: VNC, listen: 0.0.0.0, passwordRef: {secret: san, key: other}}
---
apiVersion: picket/v1
kind: Host
metadata: {name: node1}
spec: {addresses: [127.0.0.1]}
"""


def ask(c, who, host, kind, name):
    """POST hosts/HOST/secrets with the certificate `who` of node1."""
    tls = c.path("node1", "etc", "tls")
    ctx = ssl.create_default_context(cafile=tls + "/ca.crt")
    ctx.check_hostname = False
    ctx.load_cert_chain("%s/%s.crt" % (tls, who), "%s/%s.key" % (tls, who))
    h = http.client.HTTPSConnection(c.ip("node1"), c.port, context=ctx, timeout=10)
    h.request("POST", "/apis/picket/v1/hosts/%s/secrets" % host, json.dumps({"kind": kind, "name": name}),
              {"Content-Type": "application/json"})
    r = h.getresponse()
    body = json.loads(r.read().decode())
    h.close()
    return r.status, body


def main():
    with picketds.Picketds() as c:
        c.form(1)
        c.run("apply", "-f", "-", stdin=OBJECTS)
        status, body = ask(c, "agent", "node1", "ISCSITarget", "everywhere")
        dev.check(status == 200 and body["values"] == {"spec.chap.passwordRef": "geheim-eins",
                                                       "spec.chap.mutualPasswordRef": "geheim-zwei"}, str(body))
        for who, host, kind, name, want in (("agent", "node1", "ISCSITarget", "elsewhere", 403),
                                            ("agent", "node2", "ISCSITarget", "elsewhere", 403),
                                            ("admin", "node1", "ISCSITarget", "everywhere", 403),
                                            ("voter", "node1", "ISCSITarget", "everywhere", 403),
                                            ("agent", "node1", "ISCSITarget", "nowhere", 404),
                                            ("agent", "node1", "ISCSITarget", "dangling", 404),
                                            ("agent", "node1", "VirtualMachine", "screen", 403),  # it is assigned to nobody
                                            ("agent", "node1", "Secret", "san", 422)):
            status, body = ask(c, who, host, kind, name)
            dev.check(status == want, "%s of %s asks for %s %s: %d, not %d: %s" % (who, host, kind, name, status, want,
                                                                                body))
            dev.check("geheim" not in json.dumps(body), "a value was told: %s" % body)
        shown = c.run("get", "secrets,iscsitargets,hosts", "-o", "json").stdout
        dev.check("geheim" not in shown and "geheim" not in c.log("node1"), "a value is shown or logged")
    print("ok")


if __name__ == "__main__":
    main()
