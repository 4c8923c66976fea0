# Unit tests of pure parts of the daemon.
$(O)/unit/agree_test: $(O)/cmd/picketd/agree_plan.o
$(O)/unit/agree_test: LDLIBS += $(O)/cmd/picketd/agree_plan.o
