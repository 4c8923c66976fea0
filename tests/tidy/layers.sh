#!/bin/sh
# Includes follow the arrows of docs/architecture.md, and folders keep to their libraries.
set -u
cd "$(dirname "$0")/../.." || exit 2
bad=0

allowed() {
    case "$1" in
    base) echo base ;;
    api) echo base api ;;
    store) echo base api store ;;
    raft) echo base raft ;;
    net | storage | fence) echo "base api $1" ;;
    reconciler) echo base api net storage fence reconciler ;;
    cmd) echo base api store raft net storage fence reconciler cmd ;;
    esac
}

# Headers of libraries that a folder has no business with.
foreign() {
    case "$1" in
    store) echo '<(uv|raft|openssl/.*|sys/socket|time|fcntl|unistd|pthread)\.h>' ;;
    base | api | net | storage | fence | reconciler | cmd) echo '<raft\.h>' ;;
    *) echo '' ;;
    esac
}

for dir in base api store raft net storage fence reconciler cmd; do
    [ -d "$dir" ] || continue
    ok=" $(allowed "$dir") "
    for edge in $(grep -rhoE '^ *# *include "[a-z]+/' --include='*.[ch]' "$dir" | cut -d'"' -f2 | sort -u); do
        case "$ok" in
        *" ${edge%/} "*) ;;
        *)
            grep -rnE "^ *# *include \"$edge" --include='*.[ch]' "$dir" | sed "s|\$|  <- $dir may include only:$ok|" >&2
            bad=1
            ;;
        esac
    done
    ban=$(foreign "$dir")
    if [ -n "$ban" ] && grep -rnE "^ *# *include $ban" --include='*.[ch]' "$dir" >&2; then
        echo "$dir: the headers above are not for this folder" >&2
        bad=1
    fi
    # "x.h" without its folder would depend on where the compiler looks
    if grep -rnE '^ *# *include "[^/"]+"' --include='*.[ch]' "$dir" >&2; then
        echo "$dir: includes name the folder: \"$dir/...\"" >&2
        bad=1
    fi
done
exit $bad
