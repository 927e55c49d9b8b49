# Marquee. `make demo` shows it, `make test` checks it as CI does, `make check` is the quick one for every day.
.DEFAULT_GOAL := help
ARGS ?=
CARGO ?= cargo

.PHONY: help demo check test fmt build bench audit docs

help: ## what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

demo: ## build, create a simulated shop, run everything, stay up (ARGS="--once --json" ends after the run)
	@$(CARGO) build --release --bin marquee >&2
	@./target/release/marquee demo $(ARGS)

build: ## the release binary
	$(CARGO) build --release --bin marquee

check: ## format, clippy and the tests that need no server: under a minute when warm
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
	$(CARGO) test --lib

test: ## everything that CI runs: format, clippy as errors, tests on both engines and in a browser, docs
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
	scripts/with-postgres scripts/with-browser $(CARGO) test --all-targets
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --lib

fmt: ## format the code
	$(CARGO) fmt

bench: ## every bench, each beside its raw baseline (ARGS=NAME for one)
	scripts/with-postgres $(CARGO) bench --bench main -- $(ARGS)

audit: ## licences and advisories of all dependencies (needs cargo-deny)
	cargo deny check

docs: ## the API of the code
	$(CARGO) doc --no-deps --lib --open
