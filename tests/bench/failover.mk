# Failover phase by phase, on `picket dev` and on the simulator, and placement next to Pacemaker's.
BENCH_FAILOVER := PICKET_BIN_DIR=$(abspath $(O)) PICKET_SIM_SHELL=$(abspath $(O))/scenario/shell
.PHONY: bench-failover
bench-failover: all $(O)/bench/place_bench $(O)/scenario/shell ## failover times (RUNS=30 VMS=100 CALM=0), simulator, idle cost, placement next to crm_simulate
	$(BENCH_FAILOVER) tests/bench/failover.py --runs $(or $(RUNS),30) --vms $(or $(VMS),100) --out $(O)/bench/failover.md
	$(BENCH_FAILOVER) tests/bench/failover.py --runs $(or $(RUNS),30) --vms $(or $(VMS),100) --timing 150ms/600ms \
	  --calm $(or $(CALM),0) --out $(O)/bench/failover.md
	$(BENCH_FAILOVER) tests/bench/failover_sim.py --runs $(or $(RUNS),30) --out $(O)/bench/failover.md
	$(BENCH_FAILOVER) tests/bench/crm_place.py
	@echo "the tables are in $(O)/bench/failover.md, too"
