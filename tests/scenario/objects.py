"""The objects that a scenario's set-up lines stand for, as dictionaries in the API's form."""

import copy

import lang


def obj(kind, name, spec=None, **more):
    o = {"apiVersion": "picket/v1", "kind": kind, "metadata": {"name": name}}
    if spec is not None:
        o["spec"] = spec
    o.update(more)
    return o


def merge(a, b):
    for k, v in b.items():
        if isinstance(v, dict) and isinstance(a.get(k), dict):
            merge(a[k], v)
        else:
            a[k] = v
    return a


def host_name(i):
    return "node%d" % i


class Setup:
    """What the lines before `begin` say."""

    def __init__(self):
        self.hosts = 3
        self.witness = False
        self.heartbeat, self.host_timeout = "500ms", "3s"
        self.cold = False   # `begin cold`
        self.levels = [["pdu"]]
        self.vms = []       # (name, {path: value})
        self.cluster = {}
        self.per_host = {}  # name -> tree
        self.objects = []   # (kind, name, tree)
        self.device_of = {}  # host -> levels

    def take(self, step):
        w = step.words
        verb = w[0]
        if verb == "hosts":
            self.hosts = int(w[1])
            self.witness = "witness" in w[2:]
        elif verb == "timing":
            self.heartbeat, self.host_timeout = w[1], w[2]
        elif verb == "fencing":
            self.levels = levels(step, w[1:])
        elif verb == "device-of":
            self.device_of[w[1]] = levels(step, w[2:])
        elif verb == "vm":
            names = [x for x in w[1:] if "=" not in x]
            tree = lang.assignments(step, [x for x in w[1:] if "=" in x])
            self.vms += [(n, tree) for n in names]
        elif verb == "cluster":
            merge(self.cluster, lang.assignments(step, w[1:]))
        elif verb == "host":
            merge(self.per_host.setdefault(w[1], {}), lang.assignments(step, w[2:]))
        elif verb == "object":
            self.objects.append((w[1], w[2], lang.assignments(step, w[3:])))
        else:
            raise step.error("\"%s\" comes after `begin`" % verb)

    def proves(self, host):
        """Has it a device that can be probed?"""
        return any(w in ("pdu", "bmc", "watchdog") for level in self.device_of.get(host, self.levels) for w in level)

    def device(self, word, host):
        """The FenceDevice that a word of `fencing` means for a host: (name, object)."""
        if word == "pdu":
            return "pdu", obj("FenceDevice", "pdu", {"type": "ApcSnmp", "address": "192.168.9.1", "outlets": "Auto",
                                                     "communityRef": {"secret": "fence", "key": "password"}})
        if word == "bmc":
            n = host + "-bmc"
            return n, obj("FenceDevice", n, {"type": "Agent", "agent": "fence_ipmilan", "address": "192.168.9.%d" % (9 + int(host[4:]))})
        types = {"watchdog": "Watchdog", "manual": "Manual", "null": "Null"}
        return word, obj("FenceDevice", word, {"type": types[word]})

    def manifests(self):
        """Everything, in an order in which no reference is ahead of what it names."""
        out = [self.cluster_object(), obj("Secret", "fence", stringData={"password": "n0t-the-default"})]
        devices, hosts = {}, []
        for i in range(1, self.hosts + 1):
            name = host_name(i)
            plan = []
            for level in self.device_of.get(name, self.levels):
                named = [self.device(word, name) for word in level]
                devices.update(named)
                plan.append({"devices": [n for n, _ in named]})
            spec = {"addresses": ["10.0.0.%d" % i, "10.1.0.%d" % i],
                    "migrationAddress": "10.0.0.%d" % i, "fencing": plan}
            hosts.append(merge(obj("Host", name, spec), copy.deepcopy(self.per_host.get(name, {}))))
        out += list(devices.values()) + hosts
        out.append(obj("VolumeGroup", "vg0", {"luns": ["lun0"], "initialise": True}))
        out.append(obj("LUN", "lun0", {"target": "san", "lun": 0}))
        out.append(obj("ISCSITarget", "san", {"iqn": "iqn.2026-01.test:san", "portals": ["10.9.0.1:3260", "10.9.1.1:3260"]}))
        out += [merge(obj(kind, name), copy.deepcopy(tree)) for kind, name, tree in self.objects]
        return out + [self.vm_object(n, t) for n, t in self.vms]

    def cluster_object(self):
        spec = {"timing": {"heartbeat": self.heartbeat, "hostTimeout": self.host_timeout},
                "capacity": {"tolerateHostFailures": 1, "onOvercommit": "Warn"},
                "fencing": {"action": "Off", "startupGrace": "%gs" % (2 * lang.seconds(self.host_timeout)), "maxPerWindow": 10, "window": "10m"}}
        return merge(obj("Cluster", "cluster", spec), copy.deepcopy(self.cluster))

    def vm_object(self, name, tree):
        spec = {"virt": "PVH", "memory": "128Mi", "boot": {"kernel": "/boot/vmlinuz"},
                "disks": [{"name": "root", "volumeGroup": "vg0", "size": "64Mi"}]}
        return merge(obj("VirtualMachine", name, spec), copy.deepcopy(tree))


def levels(step, words):
    """`bmc then pdu and watchdog`: levels of devices that must all succeed."""
    out = [[]]
    for w in words:
        if w == "then":
            out.append([])
        elif w == "none":
            return []
        elif w in ("pdu", "bmc", "watchdog", "manual", "null"):
            out[-1].append(w)
        elif w != "and":
            raise step.error("\"%s\" is no fence device: pdu bmc watchdog manual null none" % w)
    return out
