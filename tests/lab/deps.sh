#!/bin/sh
# The Debian packages that the lab needs on this machine.  Installs those that are missing (root).
set -eu
packages='qemu-system-x86 mmdebstrap e2fsprogs cpio busybox-static kmod binutils xz-utils zstd lz4 socat tgt iproute2
openipmi snmp python3 gcc libc6-dev'

missing=
for p in $packages; do
    dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ]; then
    echo "These packages are missing; install them as root and try again:" >&2
    echo "    apt-get install$missing" >&2
    exit 1
fi
echo "installing:$missing"
apt-get update -qq
# shellcheck disable=SC2086
env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
