#!/bin/sh
# A whole dev cluster of three hosts with the real programs: the command line against the real API,
# failover after a power cut and after a network cut, no quorum, down and up again.

. "$(dirname "$0")/lib.sh"
BOOK=examples/book-cluster.yaml

say "up"
code 5 "without a cluster dev status says so" p dev status
code 1 "without a cluster get says what to do" p get vms
has "picket dev up" "namely this"
check "up" p dev up --hosts 3 --dir "$D"
has "export PICKET_CONFIG=" "prints the export line"
has "export PICKET_DEV_DIR=" "and for the other dev commands"
check "it is used without any configuration" p status
has "3 of 3 members answer" "all members answer"
check "and -v says so" p -v get vms
has "using the dev cluster in $D" "where it is"
check "version" p version
has "server:" "of the server"

say "apply, diff, get"
cat >"$TMP/bad.yaml" <<'Y'
apiVersion: picket/v1
kind: VirtualMachine
metadata: {name: web}
spec: {memroy: 4Gi, vcpus: two}
Y
code 1 "a wrong file is refused" p apply -f "$TMP/bad.yaml" -f $BOOK
has "bad.yaml:4:8: error: virtualmachine/web: spec.memroy" "with its place"
code 0 "and nothing was sent" p get luns -o name
check "no LUN" test ! -s "$TMP/out"
check "a client dry run" p apply -f $BOOK --dry-run=client
code 1 "diff says that everything is new" p diff -f $BOOK
has "^+kind: Bridge" "with plus signs"
check "apply" p apply -f $BOOK
has "virtualmachine/vm1 created" "created"
check "from standard input" sh -c "timeout 20 $BIN/picket apply -f - <$BOOK"
has "virtualmachine/vm1 unchanged" "unchanged the second time"
code 0 "diff finds nothing" p diff -f $BOOK
sed 's/memory: 2Gi/memory: 3Gi/' $BOOK >"$TMP/changed.yaml"
code 1 "diff finds a change" p diff -f "$TMP/changed.yaml"
has "^-  memory: 2Gi" "the old value"
has "^+  memory: 3Gi" "the new value"
check "get -o yaml" p get vm/vm1 -o yaml
has "volume: lvvm1" "has the object"
check "what get prints can be applied" sh -c "timeout 20 $BIN/picket get vm/vm1 -o yaml | grep -v '^status' >$TMP/vm1.yaml; timeout 20 $BIN/picket get volume/lvvm1 -o json | timeout 20 $BIN/picket apply -f -"
code 3 "get of nothing" p get vm nothing
code 2 "get without a kind" p get
code 2 "an unknown kind" p get vmm
has "did you mean" "gets a suggestion"
check "several kinds" p get vm,hosts -o name
has "^host/node2" "hosts"
has "^virtualmachine/vm2" "and VMs"
check "by label" p get vm -l app=mail -o name
has "vm1" "the one"
check "not the other" sh -c "! grep -q vm2 $TMP/out"
check "a secret" p get secret pdu -o yaml
check "never shows its value" sh -c "! grep -q -e pr1vate -e cHIxdmF0 $TMP/out"

say "the VMs run"
for vm in vm1 vm2; do
    check "delete $vm" p delete vm $vm
done
timeout 60 "$BIN/picket" get vm -w --output-watch-events >"$TMP/watch" 2>&1 &
watch1=$!
timeout 60 "$BIN/picket" get vm -w -o json >"$TMP/watch.json" 2>&1 &
watch2=$!
sleep 0.5
check "apply them again" p apply -f $BOOK
check "hosts become ready" p wait hosts --for=condition=Ready --timeout 20s
check "VMs become running" p wait vm/vm1 vm/vm2 --for=phase=Running --timeout 30s
check "why says that nothing is wrong" p why vm vm1
has "Nothing is wrong" "in these words"
check "locks are held" p get locks -o name
has "virtualmachines.vm1" "by name"
check "describe" p describe vm vm1
check "the watch saw it" grep -q "MODIFIED *vm1 *Running" "$TMP/watch"
kill "$watch1" "$watch2" # timeout hands the signal on
# Pairs of name and version; the same one must not come twice.
awk '/^    "name":/ { name = $2 } /"resourceVersion":/ { print name, $2 }' "$TMP/watch.json" >"$TMP/seen"
check "it was told something" test -s "$TMP/seen"
check "every change once" test -z "$(sort "$TMP/seen" | uniq -d)"
code 7 "wait gives up" p wait vm/vm1 --for=phase=Stopped --timeout 300ms
code 4 "a wrong incarnation is not confirmed" p confirm-off node1 --incarnation 99 --yes
code 2 "fencing asks" p fence node1 --reason test </dev/null

where() {
    p get "vm/$1" -o json | sed -n 's/^    "host": "\(.*\)",*/\1/p'
}
moved() {
    p wait "vm/$1" --for=phase=Running --timeout 5s && [ "$(where "$1")" != "$2" ]
}

say "a power cut"
H=$(where vm1)
check "power off $H, where vm1 runs" p dev power "$H" off
until_true 40 "vm1 runs elsewhere" moved vm1 "$H"
check "there was a fencing" p get fencings
has "Succeeded *Off" "by the PDU, proved"
check "status tells" p status
has "host/$H *Fenced" "that the host is fenced"
check "power on" p dev power "$H" on
check "it comes back" p wait "host/$H" --for=condition=Ready --timeout 30s

say "a network cut"
H=$(where vm1)
check "cut $H, where vm1 runs now" p dev cut "$H"
until_true 40 "vm1 runs elsewhere again" moved vm1 "$H"
check "heal" p dev heal "$H"
check "power on" p dev power "$H" on
check "it comes back" p wait "host/$H" --for=condition=Ready --timeout 30s

say "processes die, VMs do not notice"
# A lease that outlives the restart of every process on a slow machine, too.
sed 's/heartbeat: 500ms, hostTimeout: 3s/heartbeat: 1s, hostTimeout: 10s/' $BOOK >"$TMP/slow.yaml"
check "longer leases" p apply -f "$TMP/slow.yaml"
has "cluster/cluster configured" "were applied"
long_leases() {
    for h in node1 node2 node3; do
        ms=$(p get "host/$h" -o yaml | awk '/^  lease:/ { in_it = 1 } in_it && /leaseMs:/ { print $2; exit }')
        [ "$ms" = 10000 ] || return 1
    done
}
until_true 30 "every host is offered one" long_leases
sleep 4 # the status shows the offer; the next renewals bring it, one a second
before=$(p get vm/vm2 -o json | grep '"token"')
for proc in picketd agent watchdog; do
    check "kill $proc on node1" p dev kill node1 $proc
    check "kill $proc on node2" p dev kill node2 $proc
    check "kill $proc on node3" p dev kill node3 $proc
    until_true 20 "there is a leader" p get hosts
done
check "hosts are ready" p wait hosts --for=condition=Ready --timeout 30s
check "vm2 runs" p wait vm/vm2 --for=phase=Running --timeout 10s
check "under the same lock" test "$(p get vm/vm2 -o json | grep '"token"')" = "$before"

say "drain"
H=$(where vm2)
check "drain $H" p drain "$H" --timeout 60s
check "uncordon" p uncordon "$H"
check "delete a VM" p delete vm vm2 --timeout 40s
code 3 "it is gone" p get vm vm2

say "no quorum"
check "cut node1" p dev cut node1
check "cut node2" p dev cut node2
until_true 20 "status notices" sh -c "! timeout 20 $BIN/picket status"
code 5 "a write fails cleanly" p cordon node3
check "heal" p dev heal

say "nothing crashed"
p dev logs >"$TMP/all.log" 2>&1
check "no process ended by itself with SIGSEGV or SIGABRT" sh -c \
    "! grep -E 'dev-init.* signal=(6|11) ' $TMP/all.log"

say "down and up again"
check "down" p dev down
check "up" p dev up
check "the objects are there" p get vm/vm1
finish
