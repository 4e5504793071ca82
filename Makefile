# The commands of the project. Each line is one script under scripts/, which says what it does while it does it.
.DEFAULT_GOAL := help
.PHONY: help demo test bench soak

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' Makefile | column -t -s '|'

demo: ## the product at work: three nodes and three gateways on this machine, requests through service addresses (STAY=1 keeps it running)
	@scripts/demo

test: ## everything: format, lints, licences, documentation, all tests (STAGES="lint tests" for some; AGAIN=1: packets too where nothing changed)
	@scripts/test $(STAGES)

bench: ## the benchmarks (BENCH=name for one, BENCH=whole for all parts together; FULL=1: also with 100,000 services)
	@scripts/bench $(BENCH)

soak: ## the long runs that `make test` has only a short form of (STAGES="kills fuzz" for some)
	@scripts/soak $(STAGES)
