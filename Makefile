# Each target is one script or one cargo command; scripts/ says how.
.DEFAULT_GOAL := help
.PHONY: help setup demo test bench fmt deny

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

setup: ## install the Debian packages and driver libraries that build, tests and demo need
	@scripts/setup.sh test

demo: ## PostgreSQL and MariaDB that behave like RDS, an emulated AWS, rds-sidecar before them, psql and mariadb
	@scripts/setup.sh demo
	@scripts/demo.sh

test: ## everything CI checks: format, lints, docs, all tests
	@scripts/setup.sh test
	@scripts/test.sh

bench: ## rds-sidecar beside PgBouncer, HAProxy and direct connections (docs/benchmarks.md)
	@scripts/setup.sh bench
	@scripts/bench.sh

fmt: ## format the source
	cargo fmt --all

deny: ## licences, bans and sources of every dependency (needs cargo-deny)
	cargo deny --all-features check bans licenses sources
