# The lab: real Xen hosts, emulated.  docs/lab.md.  PICKET_BIN_DIR is this build.

.PHONY: lab lab-down lab-deps lab-image lab-smoke lab-full

lab-deps: ## install the Debian packages that the lab needs
	@tests/lab/deps.sh

lab-image: lab-deps ## build the lab's image unless it is cached
	@tests/lab/lab image

lab: all lab-deps ## boot a lab of HOSTS (2) Xen hosts; then tests/lab/lab help
	@PICKET_BIN_DIR=$(abspath $(O)) tests/lab/lab up $(or $(HOSTS),2)

lab-down: ## end the lab, leave nothing behind
	@tests/lab/lab down

lab-smoke: all lab-deps ## two Xen hosts, a guest, a power cut, fencing, restart elsewhere
	@PICKET_BIN_DIR=$(abspath $(O)) timeout -k 60 2400 tests/lab/run.py power_cut

lab-full: all lab-deps ## every lab scenario; S=name for one, S="-l" for their names
	@PICKET_BIN_DIR=$(abspath $(O)) tests/lab/run.py $(S)
