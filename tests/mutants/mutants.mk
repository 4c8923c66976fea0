.PHONY: mutants
mutants: ## break one safety rule at a time and see a test fail; M=name for one
	@O=$(O) tests/mutants/run.py $(M)
