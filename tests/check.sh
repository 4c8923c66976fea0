#!/bin/bash
# Everything that `make check` runs.  The last line is "N passed, N failed".
#
#   tests/check.sh [SECTION...]   sections: unit tidy san tsan sim scenario mutants fuzz torture dev
#
# Every step has a timeout; a failing step is printed with the end of its output and the run goes on.
set -u
cd "$(dirname "$0")/.." || exit 2
sections=${*:-unit tidy san tsan sim scenario mutants fuzz torture dev}
logs=build/check
mkdir -p "$logs"
passed=0
failed=0
failures=
# The unit tests in which something of ours runs on a thread of its own; raft_cluster_test too, but it takes too long so.
threaded=(addrmap_test agent_test devdrv_test net_kernel_test renew_test slot_test store_snap_test
          wake_test xen_drv_test xen_move_test)

note() { printf '%-58s %s\n' "$1" "$2"; }

log_of() { printf '%s/%s.log' "$logs" "$(printf '%s' "$1" | tr -c 'a-zA-Z0-9_.-' _)"; }

# run NAME SECONDS COMMAND...: its log ends with a line that tell reads
run() {
    local log rc
    log=$(log_of "$1")
    timeout -k 10 "$2" "${@:3}" >"$log" 2>&1 </dev/null
    rc=$?
    printf '\nstatus %d\n' "$rc" >>"$log"
}

# tell NAME: cmocka programs count with every test in them
tell() {
    local log n
    log=$(log_of "$1")
    if [ "$(tail -n 1 "$log")" = 'status 0' ]; then
        n=$(sed -n 's/^\[  PASSED  \] \([0-9]*\) test(s)\..*/\1/p' "$log" | tail -n 1)
        n=${n:-1}
        passed=$((passed + n))
        note "$1" "ok ($n)"
    else
        failed=$((failed + 1))
        failures="$failures $1"
        note "$1" "FAILED, see $log"
        tail -n 27 "$log" | sed 's/^/    | /'
    fi
}

# step NAME SECONDS COMMAND...
step() {
    run "$@"
    tell "$1"
}

# Three at a time: many of them mostly wait.
units() { # FOLDER of the build, LABEL
    local t
    for t in tests/unit/*_test.c; do
        t=$(basename "$t" .c)
        while [ "$(jobs -pr | wc -l)" -ge 3 ]; do wait -n; done
        run "$2 $t" 400 "$1/unit/$t" &
    done
    wait
    for t in tests/unit/*_test.c; do
        tell "$2 $(basename "$t" .c)"
    done
}

for s in $sections; do
    case $s in
    tidy)
        step 'tidy' 900 make -s -j2 check-tidy ;;
    unit)
        step 'build' 1200 make -j2 WERROR=1 all units
        units build unit
        step 'lab: the judge of disks' 60 tests/lab/disk_test.py ;;
    san)
        step 'build with sanitizers' 1800 make -j2 SAN=address,undefined all units
        ASAN_OPTIONS=detect_leaks=0 units build-address-undefined san ;;
    tsan)
        step 'build with the thread sanitizer' 1200 make -j2 SAN=thread "${threaded[@]/#/build-thread/unit/}"
        for t in "${threaded[@]}"; do
            TSAN_OPTIONS=suppressions=$PWD/tests/tools/tsan.supp step "tsan $t" 400 "build-thread/unit/$t"
        done ;;
    sim)
        step 'build the store simulator' 1200 make -s -j2 WERROR=1 build/storesim
        step 'sim: same seed, same story' 300 tests/storesim/same.sh build/storesim 10
        step 'sim: random worlds of the store' 300 build/storesim --seeds 100000 --seconds 45 --dir build/sim
        step 'build the cluster simulator' 1200 make -s -j2 WERROR=1 build/sim-cluster build/sim-selftest
        step 'sim: the cluster simulator itself' 300 build/sim-selftest
        step 'sim: random clusters' 400 build/sim-cluster --seeds 100000 --seconds 60 --minutes 4 ;;
    mutants)
        step 'mutants: a sample' 900 tests/mutants/run.py --sample ;;
    fuzz)
        step 'fuzz' 1500 make -s -j2 fuzz FUZZ_SECONDS="${FUZZ_SECONDS:-5}" ;;
    torture)
        step 'torture: its checker' 120 tests/torture/check_test.py
        step 'torture: build' 900 make -s -j2 torture-build
        step 'torture' 300 make -s torture SECONDS=60 ;;
    scenario)
        step 'build the scenarios' 1200 make -s -j2 WERROR=1 all build/scenario/shell
        step 'scenarios, with their stories' 600 make -s scenario WERROR=1
        for t in power-cut wedged-host agent-killed two-hosts-witness; do
            step "scenario on real processes: $t" 300 make -s scenario WERROR=1 ON=dev S="$t"
        done ;;
    dev)
        step 'build what the dev tests need' 1200 make -s -j2 WERROR=1 all build/faulty/picketd build/next/picketd
        for t in tests/dev/*_test.py tests/dev/*_test.sh; do
            [ -e "$t" ] && step "dev $(basename "$t")" 300 "$t"
        done ;;
    *)
        echo "check.sh: no section '$s'" >&2
        exit 2 ;;
    esac
done
[ -z "$failures" ] || echo "failed:$failures"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
