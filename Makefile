# What a person builds and runs here; `make help` lists it. The work is done by the scripts in Tools/, so that
# each can be run by hand too. Products land in out/, intermediate files in .build/; git ignores both.

.DEFAULT_GOAL := help
.PHONY: help bootstrap light full full-apps protos full-tests demo demo-full bench-full test test-long bench lint board boards mixed-mesh mixed-mesh-large netlab fuzz kill-rounds power-cuts sim sim-null sweep scale sim-mutants clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "  make %-22s %s\n", $$1 ($$1 == "board" ? " BOARD=..." : ""), $$2 }' $(MAKEFILE_LIST)
	@echo "Boards: $$(Tools/boards)"

bootstrap: ## Check for Swift, install missing Debian packages
	@Tools/bootstrap

light: bootstrap ## Build the light node for this machine: out/host/hotaru
	@Tools/build --host

full: ## Build the full node for this machine: out/host/hotaru-full (fetches its packages)
	@Tools/bootstrap full
	@Tools/build-full

full-apps: full
	@Tools/build-full hotaru-app hotaru-example

protos: ## Generate the full node's gRPC code anew from Sources/FullNode/Protos (long)
	@Tools/protos

full-tests: light full full-apps ## Tests of the full node, with real processes and a real browser; TESTS=... for some
	@Tools/bootstrap full-tests
	@PATH="$(CURDIR)/out/python/bin:$$PATH" Tools/full-tests/run $(TESTS)

demo-full: light full-apps ## An app, a full node, eight light nodes: submit, kill two, read back by repair (SAMPLE=200)
	@Tools/demo-full/run

bench-full: light full ## Measure the full node's figures, into out/bench-full.jsonl
	@Tools/bootstrap full-tests
	@Tools/build-full hotaru-plain
	@PATH="$(CURDIR)/out/python/bin:$$PATH" Tools/bench/full

demo: light ## Store a file (FILE=...) on seven nodes, kill two of its holders, get it back
	@Tools/demo/run

test: light ## Unit tests, then tests with real processes
	swift test
	@Tools/process-tests/run

test-long: ## The unit tests with large meshes and more seeds
	LONG=1 swift test

bench: light ## Measure the figures of the README, into out/bench.jsonl
	@Tools/bench/run

lint: ## Formatting, imports that point down, no input or output below Host
	swift format lint --strict --recursive Sources Tests Tools Package.swift
	@Tools/lint/structure --self-test
	@Tools/lint/structure

board: bootstrap ## Build the light node for one board: out/BOARD/hotaru
	@Tools/build "$(BOARD)"

# Two at a time: much of a build waits for one compiler.
boards: bootstrap ## Build the light node for every board
	@Tools/boards | tr ' ' '\n' | xargs -P 2 -n 1 Tools/build

mixed-mesh: boards ## All boards in one mesh (ARM under qemu): put, kill, get; dates after 2038
	@Tools/bootstrap emulation
	@Tools/mixed-mesh/run

mixed-mesh-large: boards ## A file of more than 2 GiB through a 32-bit board (long; 7 GB in TMPDIR)
	@Tools/bootstrap emulation
	@Tools/mixed-mesh/run --large

netlab: light ## Nodes in network namespaces (root): hops, loss, splits, slow links, attackers
	@Tools/netlab/run --self-test
	@Tools/netlab/run

fuzz: ## Give every decoder and whole nodes made-up inputs for SECONDS (60) in all, or one TARGET
	@Tools/bootstrap
	@Tools/fuzz/run "$(or $(SECONDS),60)" $(TARGET)

kill-rounds: light ## SIGKILL three nodes under load 200 times (ROUNDS=...): nothing confirmed is lost
	@ROUNDS=$(or $(ROUNDS),200) Tools/process-tests/run Kill.test_rounds

power-cuts: light ## Cut the power of nodes on disks that forget what was not synced, 100 times (ROUNDS=...); needs FUSE
	@Tools/bootstrap power-cuts
	@ROUNDS=$(or $(ROUNDS),100) Tools/process-tests/run -v PowerCuts

# A simulation is one thread, and generic code is slow unless it is compiled for the type that it is used with.
SIM_FLAGS = -c release --product hotaru-sim -Xswiftc -enforce-exclusivity=unchecked -Xswiftc -cross-module-optimization

sim: ## Build the simulator: .build/release/hotaru-sim
	swift build $(SIM_FLAGS)

sim-null: ## The same without encryption, for long runs: .build/null-cipher/release/hotaru-sim
	HOTARU_NULL_CIPHER=1 swift build $(SIM_FLAGS) --scratch-path .build/null-cipher

sweep: sim ## Simulate small towns in which everything breaks (SEEDS=1..100, JOBS=2)
	.build/release/hotaru-sim sweep --seeds $(or $(SEEDS),1..100) --jobs $(or $(JOBS),2)

scale: sim-null ## Measure how costs grow with the town, and draw it: Tools/Simulator/SCALE.md (long)
	@Tools/bootstrap plots
	@Tools/Simulator/scale/run

sim-mutants: ## Break the node on purpose and see that the simulator notices (long); MUTANT=... for one
	@Tools/Simulator/mutants/run $(MUTANT)

clean: ## Remove everything that was built or downloaded: out/ and .build/
	rm -rf out .build
