# Failover on `picket dev`, phase by phase, and placement next to Pacemaker's.
.PHONY: bench-failover
bench-failover: all $(O)/bench/place_bench ## failover times (RUNS=30 VMS=100), idle cost, placement next to crm_simulate
	PICKET_BIN_DIR=$(abspath $(O)) tests/bench/failover.py --runs $(or $(RUNS),30) --vms $(or $(VMS),100)
	PICKET_BIN_DIR=$(abspath $(O)) tests/bench/failover.py --runs $(or $(RUNS),30) --vms $(or $(VMS),100) --timing 150ms/600ms
	PICKET_BIN_DIR=$(abspath $(O)) tests/bench/crm_place.py
