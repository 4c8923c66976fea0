#!/bin/bash
# Builds what a lab host boots from, out of Debian packages only, and prints the folder it is in.
#
#   image.sh            build it unless it is in the cache
#   image.sh --key      print the key of the cache: a hash of everything that goes in
#
# In the folder: xen vmlinux initrd.gz root.ext4 domu-vmlinux domu-initrd.gz.  Packages come from where this
# machine takes its own from (/etc/apt); nothing is named here.  Needs root; nothing is mounted.
# LAB_CACHE is the cache, else a folder of this user's.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${LAB_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/picket-lab}
# shellcheck source=/dev/null
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
xen=4.17

# What a host needs to run Xen, and what Picket and its fence agents are linked with or call.
packages="xen-utils-$xen xen-utils-common xenstore-utils libxenmisc$xen open-iscsi multipath-tools lvm2 iproute2
bridge-utils kmod udev e2fsprogs busybox-static sg3-utils iputils-ping socat procps psmisc strace gdb-minimal openssl
libuv1 libraft2 libjansson4 libyaml-0-2 libmsgpackc2 libssl3 liblz4-1 libsnmp40 libmnl0 libdevmapper1.02.1
libopeniscsiusr libiscsi7 libnl-3-200 ipmitool python3-minimal python3-pexpect python3-pycurl ${LAB_PACKAGES:-}"
# Unpacked without what it depends on, which is the clients of every cloud there is.
unpacked="fence-agents"

dom0_modules="virtio_pci virtio_blk virtio_net virtio_console virtio_rng ext4 9p 9pnet_virtio overlay
e1000 iscsi_tcp libiscsi scsi_transport_iscsi sd_mod sg scsi_dh_alua scsi_dh_rdac dm_mod dm_multipath
dm_round_robin dm_queue_length dm_service_time dm_snapshot dm_mirror dm_thin_pool
bonding bridge br_netfilter 8021q veth dummy tun loop
xen_blkback xen_netback xen_gntdev xen_gntalloc xen_evtchn xen_privcmd xenfs xen_wdt
i6300esb softdog ipmi_si ipmi_devintf ipmi_watchdog ipmi_poweroff ipmi_msghandler
crc32c_generic crc32c_intel nbd scsi_debug ip_tables iptable_filter nf_tables"

# The newest kernels that apt knows: linux-image-amd64 is a name for one of them.
kernel=$(apt-cache depends linux-image-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9][^ ]*\)$/\1/p' | head -n 1)
[ -n "$kernel" ] || { echo "image.sh: apt knows no linux-image-amd64; run apt-get update" >&2; exit 1; }
cloud=${kernel%-amd64}-cloud-amd64

version_of() { apt-cache policy "$@" | sed -n 's/^  Candidate: //p'; }

base_key() {
    {
        echo "$suite $packages"
        version_of "xen-utils-$xen" lvm2 libc6 multipath-tools open-iscsi
    } | sha256sum | cut -c1-12
}
image_key() {
    {
        base_key
        echo "$kernel $cloud $unpacked"
        version_of "$kernel" "$cloud" "xen-hypervisor-$xen-amd64" fence-agents
        sha256sum <"$here/image.sh"
        cat "$here"/node/{init,lvmlocal.conf,multipath.conf} "$here"/guest/*
    } | sha256sum | cut -c1-12
}

base=$cache/base-$(base_key).tar
image=$cache/image-$(image_key)
[ "${1:-}" != --key ] || { basename "$image"; exit 0; }
if [ -e "$image/complete" ]; then
    touch "$image/complete"
    echo "$image"
    exit 0
fi
[ "$(id -u)" = 0 ] || { echo "image.sh: has to run as root (it makes a root file system)" >&2; exit 1; }
for tool in mmdebstrap mke2fs cpio busybox depmod xz zstd lz4; do
    command -v "$tool" >/dev/null || { echo "image.sh: $tool is missing; run make lab-deps" >&2; exit 1; }
done

mkdir -p "$cache"
# One build at a time; whoever waited finds it done.
exec 9>"$cache/lock"
flock 9
if [ -e "$image/complete" ]; then
    echo "$image"
    exit 0
fi
work=$cache/work
new=$image.new
rm -rf "$work" "$new"
mkdir -p "$work/debs" "$new"
started=$(date +%s)
lap() { printf '%5ds  %s\n' "$(($(date +%s) - started))" "$*" >&2; }

# --- where packages come from: the entries of this machine for its own release ---
apt_sources() {
    local f
    for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ -e "$f" ] && grep -hE "^deb .* $suite([-/][a-z-]*)? " "$f" || true
    done >"$work/apt.list"
    for f in /etc/apt/sources.list.d/*.sources; do
        [ -e "$f" ] && awk -v RS= -v ORS='\n\n' -v s="Suites:[^\n]*[ ]$suite" '$0 ~ s' "$f"
    done >"$work/apt.sources"
    apt-config dump | grep -E '^Acquire::(http|https|Check-|Retries|ForceIPv4|By-Hash)' >"$work/apt.conf" || true
    [ -s "$work/apt.list" ] || [ -s "$work/apt.sources" ] ||
        { echo "image.sh: /etc/apt has no source for $suite" >&2; exit 1; }
}

# --- an ELF kernel out of a bzImage: neither Xen nor libxl has to unpack it under emulation then ---
elf_of() { # BZIMAGE ELF
    local sectors offset length
    sectors=$(od -An -tu1 -j $((0x1f1)) -N1 "$1")
    offset=$(od -An -tu4 -j $((0x248)) -N4 "$1")
    length=$(od -An -tu4 -j $((0x24c)) -N4 "$1")
    # The last 4 bytes are the size.
    dd if="$1" of="$2.z" bs=1M iflag=skip_bytes,count_bytes skip=$(((sectors + 1) * 512 + offset)) \
        count=$((length - 4)) status=none
    case $(od -An -tx1 -N4 "$2.z" | tr -d ' ') in
    fd377a58) xz -dc <"$2.z" >"$2" ;;
    28b52ffd) zstd -dqc <"$2.z" >"$2" ;;
    1f8b*) gzip -dc <"$2.z" >"$2" ;;
    02214c18) lz4 -dc <"$2.z" >"$2" ;;
    *) echo "image.sh: $1 is packed in a way that is not known" >&2; return 1 ;;
    esac
    rm -f "$2.z"
}

# Modules with what they depend on, nothing else.
modules() { # FROM VERSION TO NAME...
    local from=$1 version=$2 to=$3 m f
    shift 3
    for m in "$@"; do
        modprobe -d "$from" -S "$version" --show-depends "$m" 2>/dev/null |
            sed -n 's/^insmod \([^ ]*\).*/\1/p' || echo "image.sh: no module $m" >&2
    done | sort -u | while read -r f; do
        f=$(realpath -m "$f")
        install -D -m 644 "$f" "$to/${f#"$(realpath "$from")"/}"
    done
    for f in modules.builtin modules.builtin.modinfo modules.order; do
        cp "$from/lib/modules/$version/$f" "$to/lib/modules/$version/"
    done
    depmod -b "$to" "$version"
}

pack() { (cd "$1" && find . | cpio -o -H newc --quiet | gzip -6); }

kernels() {
    cd "$work/debs"
    apt-get -o APT::Sandbox::User=root download -qq "$kernel" "$cloud" "xen-hypervisor-$xen-amd64" $unpacked
    mkdir ../k ../c ../x ../u
    dpkg -x "${kernel}"_*.deb ../k
    dpkg -x "${cloud}"_*.deb ../c
    dpkg -x xen-hypervisor-*.deb ../x
    for p in $unpacked; do dpkg -x "$p"_*.deb ../u; done
    cd "$work"
    version=${kernel#linux-image-}
    cloud_version=${cloud#linux-image-}
    zcat "x/boot/xen-$xen-amd64.gz" >"$new/xen" # the multiboot loader of QEMU wants the plain ELF
    elf_of "k/boot/vmlinuz-$version" "$new/vmlinux"
    elf_of "c/boot/vmlinuz-$cloud_version" "$new/domu-vmlinux"
    depmod -b k "$version"
    depmod -b c "$cloud_version"
    # shellcheck disable=SC2086
    modules k "$version" dom0 $dom0_modules
    lap "kernels $version, $cloud_version"
}

guest() {
    cd "$work"
    mkdir -p guest/bin guest/proc guest/sys guest/dev guest/lib
    cp /bin/busybox guest/bin/
    modules c "$cloud_version" guest xen_blkfront xen_netfront
    install -m 755 "$here/guest/init" guest/init
    gcc -O2 -static -o guest/bin/heartbeat "$here/guest/heartbeat.c"
    pack guest >"$new/domu-initrd.gz"
}

root_tar() {
    local sources=()
    [ ! -s "$base" ] || return 0
    apt_sources
    [ -s "$work/apt.list" ] && sources+=("$work/apt.list")
    [ -s "$work/apt.sources" ] && sources+=("$work/apt.sources")
    # shellcheck disable=SC2086
    TMPDIR=$work mmdebstrap --mode=root --variant=minbase --include="$(echo $packages | tr ' ' ,)" \
        --aptopt="$work/apt.conf" --aptopt='Acquire::Languages "none"' \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' \
        "$suite" "$base.new.tar" "${sources[@]}" >"$work/mmdebstrap.log" 2>&1 ||
        { tail -n 30 "$work/mmdebstrap.log" >&2; return 1; }
    mv "$base.new.tar" "$base"
}

configure() { # ROOT
    local r=$1
    cp "$here/node/multipath.conf" "$r/etc/multipath.conf"
    cp "$here/node/lvmlocal.conf" "$r/etc/lvm/lvmlocal.conf"
    sed -i -e 's/^node.startup = .*/node.startup = manual/' \
        -e 's/^node.session.timeo.replacement_timeout = .*/node.session.timeo.replacement_timeout = 5/' \
        -e 's/^node.conn\[0\].timeo.noop_out_interval = .*/node.conn[0].timeo.noop_out_interval = 2/' \
        -e 's/^node.conn\[0\].timeo.noop_out_timeout = .*/node.conn[0].timeo.noop_out_timeout = 3/' \
        "$r/etc/iscsi/iscsid.conf"
    # Rules that only cost time under emulation: 6 to 10 s a LUN.
    (cd "$r/lib/udev/rules.d" && rm -f 55-scsi-sg3_id.rules 58-scsi-sg3_symlink.rules 60-kpartx.rules \
        56-dm-parts.rules 68-del-part-nodes.rules 64-btrfs.rules 60-cdrom_id.rules 69-lvm.rules \
        96-e2scrub.rules 85-hwclock.rules 80-drivers.rules)
    rm -rf "$r/etc/iscsi/initiatorname.iscsi" "$r"/var/cache/apt/* "$r"/var/lib/apt/lists/*
}

root_disk() {
    local r=$work/root
    cd "$work"
    mkdir "$r"
    tar -xf "$base" -C "$r" --exclude='./dev/*'
    cp -r dom0/lib/modules "$r/lib/"
    # Fence agents and their library; the rest of that package stays out.
    cp -r u/usr/share/fence "$r/usr/share/"
    cp u/usr/sbin/fence_ipmilan u/usr/sbin/fence_apc_snmp "$r/usr/sbin/"
    mkdir -p "$r/guest" "$r/lab" "$r/proc/xen" "$r/mnt/share" "$r/data"
    cp "$new/domu-vmlinux" "$new/domu-initrd.gz" "$r/guest/"
    # The device model of an HVM guest takes nothing but the packed one.
    cp "c/boot/vmlinuz-$cloud_version" "$r/guest/domu-vmlinuz"
    install -m 755 "$here/node/init" "$r/lab/init"
    configure "$r"
    mke2fs -q -t ext4 -O '^has_journal,^metadata_csum' -E lazy_itable_init=1,nodiscard -m 0 -d "$r" \
        "$new/root.ext4" "${LAB_ROOT_MB:-1000}M"
    lap "root disk: $(du -h "$new/root.ext4" | cut -f1) used"
}

initrd() {
    cd "$work"
    mkdir -p ir/bin ir/proc ir/sys ir/dev ir/disk ir/memory ir/new
    cp /bin/busybox ir/bin/
    modules k "$version" ir virtio_pci virtio_blk ext4 crc32c_generic overlay
    cat >ir/init <<'I'
#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t devtmpfs dev /dev; mount -t sysfs sys /sys
for m in virtio_pci virtio_blk crc32c_generic ext4 overlay; do modprobe $m; done
i=0; while [ ! -b /dev/vda ] && [ $i -lt 200 ]; do sleep 0.05; i=$((i+1)); done
# The disk is never written: what a host writes is gone with its power, except /data.
mount -t ext4 -o ro,noatime,noload /dev/vda /disk || exec sh
mount -t tmpfs -o size=192m memory /memory
mkdir /memory/up /memory/work
mount -t overlay -o lowerdir=/disk,upperdir=/memory/up,workdir=/memory/work root /new || exec sh
umount /sys; mount --move /dev /new/dev; umount /proc
exec switch_root /new /lab/init
I
    chmod 755 ir/init
    pack ir >"$new/initrd.gz"
}

kernels
guest
root_tar
lap "packages: $(du -h "$base" | cut -f1)"
root_disk
initrd
rm -rf "$work"
touch "$new/complete"
mv "$new" "$image"
# Two images are kept: the newest, and one for whoever switches between branches.
find "$cache" -maxdepth 1 -name 'image-*' -printf '%T@ %p\n' | sort -rn | tail -n +3 | cut -d' ' -f2- | xargs -r rm -rf
lap "done"
echo "$image"
