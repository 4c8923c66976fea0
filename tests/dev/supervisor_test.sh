#!/bin/sh
# picket-devd with stand-ins for the daemons: power, network, watchdog, PDU and the end of everything.
# Needs python3 (the stand-ins and the sockets).

. "$(dirname "$0")/lib.sh"
command -v python3 >/dev/null || { echo "python3 is needed" >&2; exit 1; }

STAND=$TMP/bin
mkdir -p "$STAND"
ln -s "$BIN/picket-devd" "$STAND/picket-devd"

# An echo server that says its host's name.
cat >"$STAND/picketd" <<'PY'
#!/usr/bin/env python3
import socketserver, sys, threading, time
a = dict(zip(sys.argv[1:], sys.argv[2:]))
class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        while True:
            data = self.request.recv(65536)
            if not data:
                return
            self.request.sendall(a['--name'].encode() + b':' + data)
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
for option in ('--listen-api', '--listen-peer'):
    ip, port = a[option].rsplit(':', 1)
    threading.Thread(target=Server((ip, int(port)), Echo).serve_forever, daemon=True).start()
while True:
    time.sleep(1000)
PY
# A daemon with a "guest": an orphan in the same process group.
cat >"$STAND/picket-agent" <<'SH'
#!/bin/sh
(sleep 31536001 &)
exec sleep 31536000
SH
printf '#!/bin/sh\nexec sleep 31536000\n' >"$STAND/picket-watchdog"
cp "$STAND/picket-watchdog" "$STAND/picket-pdu"
chmod +x "$STAND"/*
export PICKET_BIN_DIR=$STAND

say "up"
check "the supervisor starts" p dev up --no-wait --hosts 3
check "and again is no error" p dev up --no-wait
code 1 "a second supervisor in the same folder is refused" timeout 5 "$STAND/picket-devd" --dir "$D"
has "runs in" "and says so"
check "status" p dev status
has "node3 *on" "three hosts are on"
mkdir "$TMP/other" && touch "$TMP/other/file"
code 1 "a folder of something else is refused" p dev up --no-wait --dir "$TMP/other"
check "and left alone" test "$(ls "$TMP/other")" = file

say "network, power, watchdog, PDU"
cat >"$TMP/checks.py" <<'PY'
import json, os, signal, socket, struct, sys, threading, time
D = os.environ['PICKET_DEV_DIR']
bad = 0
def check(text, ok, seen=None):
    global bad
    print(('ok    ' if ok else 'FAIL: ') + text + ('' if ok else ' (%r)' % (seen,)))
    bad += not ok
def unix(path, kind=socket.SOCK_STREAM):
    s = socket.socket(socket.AF_UNIX, kind)
    s.settimeout(20)
    s.connect(path)
    return s
ctl = unix(D + '/devd.sock')
ctl_in = ctl.makefile()
def do(cmd, **k):
    ctl.sendall((json.dumps(dict(k, cmd=cmd)) + '\n').encode())
    return json.loads(ctl_in.readline())
def host(name):
    return [h for h in do('status')['hosts'] if h['name'] == name][0]
port = do('status')['port']
def until(what, seconds=15):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if what():
            return True
        time.sleep(0.05)
    return False
def conn(i, j, add=1, link=1):
    s = socket.socket()
    s.settimeout(10)
    s.connect(('127.%d.%d.%d' % (63 + link, i, j), port + add))
    return s
# What comes back: text, "silence" (nothing for a while), "reset", "closed".
def ask(s, wait=10):
    s.settimeout(wait)
    try:
        s.sendall(b'x')
        return s.recv(100).decode() or 'closed'
    except socket.timeout:
        return 'silence'
    except OSError:
        return 'reset'
def reach(i, j, link=1):
    try:
        return ask(conn(i, j, 1, link), 1)
    except socket.timeout:
        return 'silence'
    except OSError:
        return 'reset'
for i in (1, 2, 3):
    check('picketd of node%d listens' % i, until(lambda: reach(100, i) == 'node%d:x' % i))

a = conn(1, 2)
b = conn(1, 3, 0, 2)
check('a relay to the API', ask(a) == 'node2:x')
check('a relay to the peer port on link 2', ask(b) == 'node3:x')
big = conn(2, 3)
data = os.urandom(4 << 20)
got = []
def reader():
    n = 0
    while n < len(data):
        chunk = big.recv(1 << 16)
        if not chunk:
            break
        n += len(chunk)
    got.append(n)
t = threading.Thread(target=reader)
t.start()
big.sendall(data)
t.join()
check('4 MiB there and back', got[0] >= len(data), got)

do('cut', host='node2')
check('a cut connection is silent, not reset', ask(a, 0.5) == 'silence')
check('a new connection to it too', reach(1, 2) == 'silence')
check('others go on', ask(b) == 'node3:x')
check('the operator is cut off, too', reach(100, 2) == 'silence')
do('heal', host='node2')
check('after healing the old connection is reset', ask(a) == 'reset')
check('and a new one works', reach(1, 2) == 'node2:x')
do('cut', host='node2', **{'from': 'node1'}, direction='in')
check('cut between two hosts only', reach(1, 2) == 'silence' and reach(3, 2) == 'node2:x')
do('heal')
one_way = conn(1, 2)
ask(one_way)
do('cut', host='node1', **{'from': 'node2'}, direction='out')
check('one way: what node1 sends is lost', ask(one_way, 0.5) == 'silence')
check('and a connection cannot be made', reach(2, 1) == 'silence')
do('heal')
do('cut', host='node1', link=2)
check('one link', reach(2, 1, 2) == 'silence' and reach(2, 1, 1) == 'node1:x')
do('heal')

a = conn(1, 2)
ask(a)
before = host('node2')
group = before['pgid']
do('power', host='node2', on=False)
def group_gone(g):
    try:
        os.killpg(g, 0)
        return False
    except ProcessLookupError:
        return True
check('off: the whole group is gone, guests too', group_gone(group))
check('off: peers hear silence', ask(a, 0.5) == 'silence')
check('off: no connection', reach(1, 2) == 'silence')
do('power', host='node2', on=True)
check('on: the old connection is reset', until(lambda: ask(a, 0.2) in ('reset', 'closed')))
check('on: it answers again', until(lambda: reach(1, 2) == 'node2:x'))
check('on: a new boot id', host('node2')['bootID'] != before['bootID'])
check('on: the same hardware id', json.load(open(D + '/dev.json'))['hosts'][1]['hardwareID'] ==
      open(D + '/hosts/node2/hardware-id').read())

c = conn(1, 3)
ask(c)
do('wedge', host='node3')
check('wedged: nothing answers', ask(c, 0.5) == 'silence')
do('power', host='node3', on=False)
check('power off works on stopped processes', host('node3')['power'] == 'off')
do('power', host='node3', on=True)
check('and it comes back', until(lambda: reach(1, 3) == 'node3:x'))

pid = host('node1')['processes']['picketd']
do('kill', host='node1', process='picketd')
check('a killed process starts again', until(lambda: host('node1')['processes']['picketd'] not in (0, pid)))
do('stop', host='node1', process='picketd')
check('a stopped one ends', until(lambda: host('node1')['processes']['picketd'] == 0))
check('and stays down', not until(lambda: host('node1')['processes']['picketd'], 1.5))
check('on a host that is up a closed port refuses', reach(2, 1) in ('reset', 'closed'))
do('start', host='node1', process='picketd')
check('until it is started', until(lambda: reach(2, 1) == 'node1:x'))
boot = host('node1')['bootID']
os.kill(host('node1')['pgid'], signal.SIGKILL)
check('a dead init is a crash: new boot id', until(lambda: host('node1')['bootID'] != boot and
      host('node1')['power'] == 'on'))

def wd(op, timeout=0):
    return struct.pack('IIII', 0x56454457, op, timeout, 0)
w = unix(D + '/hosts/node1/watchdog.sock', socket.SOCK_SEQPACKET)
w.send(wd(1, 1500))
check('the watchdog arms and says its timeout', struct.unpack('IIII', w.recv(99))[1:3] == (1, 1500))
boot = host('node1')['bootID']
for _ in range(6):
    time.sleep(0.4)
    w.send(wd(2))
check('fed, it is quiet', host('node1')['bootID'] == boot)
w.close()
check('a lost connection does not disarm: it resets', until(lambda: host('node1')['bootID'] != boot))
check('and says so', 'watchdog' in host('node1')['why'])
w = unix(D + '/hosts/node1/watchdog.sock', socket.SOCK_SEQPACKET)
boot = host('node1')['bootID']
check('on again', until(lambda: host('node1')['power'] == 'on'))
w.send(wd(1, 1000))
w.recv(99)
w.send(wd(3))
time.sleep(2)
check('disarmed, nothing happens', host('node1')['bootID'] == boot)
w.send(b'garbage')
check('garbage closes the connection', w.recv(99) == b'')

p = unix(D + '/pdu.sock')
p_in = p.makefile()
def pdu(line):
    p.sendall((line + '\n').encode())
    return p_in.readline().strip()
check('outlets read on', pdu('status node2') == 'on')
check('off', pdu('off node2') == 'ok' and pdu('status node2') == 'off')
check('off means gone', host('node2')['pgid'] == 0)
check('on', pdu('on node2') == 'ok' and until(lambda: host('node2')['power'] == 'on'))
check('reboot', pdu('reboot node2') == 'ok' and until(lambda: host('node2')['boots'] > 3) and
      until(lambda: pdu('status node2') == 'on'))
do('power', host='node2', on=False)
check('a pulled cord is not a switched outlet', pdu('status node2') == 'on')
pdu('off node2')
pdu('on node2')
check('and an outlet does not plug it in', host('node2')['power'] == 'off')
do('power', host='node2', on=True)
check('nonsense gets an error', pdu('off nobody') == 'no such outlet' and
      pdu('explode node1') == 'unknown command' and pdu('x') == 'malformed request')
for rq in ({'cmd': 'power', 'host': 'nobody'}, {'cmd': 'cut', 'host': 'node1', 'direction': 'up'},
           {'cmd': 'cut', 'host': 'node1', 'link': 9}, {'cmd': 'explode', 'host': 'node1'}, {}):
    check('refused: %s' % rq, do(**dict({'cmd': ''}, **rq))['ok'] is False)
sys.exit(1 if bad else 0)
PY
timeout 120 python3 "$TMP/checks.py" || fail "checks of the supervisor"

say "down and up again"
port=$(sed -n 's/.*"port": \([0-9]*\).*/\1/p' "$D/dev.json")
check "down" p dev down
left() {
    # Stand-ins of this folder that still run.
    ps -eo pid=,stat=,args= | awk -v d="$TMP/" '$2 !~ /Z/ && index($0, d) && !/awk/ { print; n++ } END { exit n > 0 }'
}
check "nothing is left" left
code 5 "no status then" p dev status
check "up again" p dev up --no-wait
check "with the same ports" grep -q "\"port\": $port" "$D/dev.json"
check "logs of both lives" p dev logs dev devd
has "everything has ended" "the first one's end"

say "two clusters at once"
check "a second folder" p dev up --no-wait --dir "$TMP/e" --hosts 1
check "has other ports" test "$(sed -n 's/.*"port": \([0-9]*\).*/\1/p' "$TMP/e/dev.json")" != "$port"
check "and goes away whole" p dev down --wipe --dir "$TMP/e"
check "folder and all" test ! -e "$TMP/e"

say "kill -9 of the supervisor"
check "wedge a host first" p dev wedge node1
kill -9 "$(p dev status -o json | sed -n 's/^  "pid": \([0-9]*\).*/\1/p')"
until_true 10 "leaves nothing running, stopped processes neither" left
check "and it comes back" p dev up --no-wait
finish
