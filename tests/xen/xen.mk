# One job of the Xen driver without agent and cluster, for the lab (tests/xen/poke.c).

.PHONY: xen-poke
xen-poke: $(O)/xen-poke ## build/xen-poke: one job of the Xen driver, in a dom0

$(O)/xen-poke: $(O)/tests/xen/poke.o $(LINK)
	@echo "  LD    $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $< -Wl,--start-group $(LINK) -Wl,--end-group $(LDLIBS)

-include $(O)/tests/xen/poke.d
