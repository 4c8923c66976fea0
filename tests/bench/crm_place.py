#!/usr/bin/env python3
"""Placement with one host dead, by picket's planner (place_bench) and by Pacemaker's (crm_simulate), side by side.

    crm_place.py [HOSTS VMS]...          default 16 300 32 1000

The CIB says the same as place_bench's cluster: one primitive a machine with 2 GiB of utilisation, hosts that are 70 %
full, the machines where they run now, one host offline.  crm_simulate computes the transition and does not run it.
It is in Debian's pacemaker-cli-utils; without it only our numbers are printed.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.environ.get("PICKET_BIN_DIR", os.path.join(ROOT, "build"))
LIMIT = 900


def cib(hosts, vms, strategy):
    room = int(vms * 2 / 0.7 / hosts) + 2
    out = ['<cib validate-with="pacemaker-3.7" epoch="1" num_updates="0" admin_epoch="0" have-quorum="1" dc-uuid="1">',
           "<configuration><crm_config><cluster_property_set id=\"o\">"
           "<nvpair id=\"o1\" name=\"stonith-enabled\" value=\"false\"/>"
           "<nvpair id=\"o2\" name=\"placement-strategy\" value=\"%s\"/></cluster_property_set></crm_config><nodes>" % strategy]
    for h in range(hosts):
        out.append('<node id="%d" uname="host%d"><utilization id="u%d"><nvpair id="u%d-m" name="memory" value="%d"/>'
                   "</utilization></node>" % (h + 1, h, h, h, room))
    out.append("</nodes><resources>")
    for v in range(vms):
        out.append('<primitive id="vm%d" class="ocf" provider="pacemaker" type="Dummy"><utilization id="v%d">'
                   '<nvpair id="v%d-m" name="memory" value="2"/></utilization></primitive>' % (v, v, v))
    out.append("</resources><constraints/></configuration><status>")
    for h in range(hosts):
        up = h != 0
        out.append('<node_state id="%d" uname="host%d" in_ccm="%s" crmd="%s" join="%s" expected="%s">'
                   '<lrm id="%d"><lrm_resources>' % (h + 1, h, "true" if up else "false", "online" if up else "offline",
                                                     "member" if up else "down", "member" if up else "down", h + 1))
        for v in range(h, vms, hosts) if up else []:
            out.append('<lrm_resource id="vm%d" class="ocf" provider="pacemaker" type="Dummy"><lrm_rsc_op id="vm%d_last_0" '
                       'operation_key="vm%d_start_0" operation="start" crm-debug-origin="x" crm_feature_set="3.16.2" '
                       'transition-key="1:0:0:00000000-0000-0000-0000-000000000000" '
                       'transition-magic="0:0;1:0:0:00000000-0000-0000-0000-000000000000" call-id="%d" rc-code="0" '
                       'op-status="0" interval="0" op-digest="0"/></lrm_resource>' % (v, v, v, v + 1))
        out.append("</lrm_resources></lrm></node_state>")
    out.append("</status></cib>")
    return "".join(out)


def crm(hosts, vms, strategy):
    """Seconds, or why not."""
    if not shutil.which("crm_simulate"):
        return "not installed"
    with tempfile.NamedTemporaryFile("w", suffix=".xml") as f:
        f.write(cib(hosts, vms, strategy))
        f.flush()
        began = time.monotonic()
        try:
            p = subprocess.run(["crm_simulate", "-R", "-x", f.name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               timeout=LIMIT)
        except subprocess.TimeoutExpired:
            return "stopped at %d s" % LIMIT
        took = time.monotonic() - began
        starts = len(re.findall(r"(?m)^\s+\* Start\s+vm", p.stdout))
        if p.returncode != 0 or starts == 0:
            return "failed: %s" % p.stdout.strip().splitlines()[-1:]
        return "%.3f s (%d starts planned)" % (took, starts)


def ours(hosts, vms):
    p = subprocess.run([os.path.join(BIN, "bench", "place_bench"), str(hosts), str(vms)], stdout=subprocess.PIPE, text=True)
    return p.stdout.strip()


def main():
    sizes = [int(a) for a in sys.argv[1:]] or [16, 300, 32, 1000]
    for hosts, vms in zip(sizes[::2], sizes[1::2]):
        print("--- %d hosts, %d machines, one host dead" % (hosts, vms))
        print(ours(hosts, vms))
        for strategy, text in (("default", "without looking at memory"), ("balanced", "with memory")):
            print("crm_simulate, %s: %s" % (text, crm(hosts, vms, strategy)), flush=True)


if __name__ == "__main__":
    main()
