# `make` lists what can be made. Rust with cargo is needed for all of it; see `make toolchain`.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run test check deb lint-deb test-deb setup toolchain clean

# rustup puts cargo here, and a shell that was open before does not know it yet.
export PATH := $(PATH):$(HOME)/.cargo/bin

# Programs that tests look for, each in a Debian package of the same name.
TEST_PROGRAMS := strace python3 curl mount openssl

# Tests at once. Many of them run a server of their own and measure times: by default one for each core.
TEST_THREADS ?=

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' '$(firstword $(MAKEFILE_LIST))' | expand -t 12

run: toolchain ## build the server and serve sample1 from configs/; Ctrl-C stops it
	@cargo build --release --locked --bin moca-file-log
	@port=$$(tr -d '\n' <configs/log.json | sed -n 's/.*"sample1"[^}]*"port": *\([0-9]*\).*/\1/p'); \
	url="http://127.0.0.1:$${port:-5700}"; \
	printf '\nsample1 is served on %s\n\nSave a line:\n' "$$url"; \
	printf "  curl -H 'API-KEY: mochimochi' --data-urlencode 'message=hello world' %s/moca-file-log/save-log\n" "$$url"; \
	printf 'Read the latest lines:\n'; \
	printf "  curl -H 'API-KEY: mochimochi' -H 'ROOT-PASS: mochimochi' %s/moca-file-log/get-latest-logs\n\n" "$$url"
	@exec cargo run --quiet --release --locked --bin moca-file-log -- sample1 \
		--config-dir configs --log-dir client_logs --state-dir state

test: setup ## all tests: unit, property, HTTP and store
	@cargo test --locked --no-fail-fast $(if $(TEST_THREADS),-- --test-threads='$(TEST_THREADS)')

check: setup ## what must be green before a change goes in: format, clippy, all tests
	@cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1 || \
		{ echo 'rustfmt or clippy is missing: rustup component add rustfmt clippy' >&2; exit 1; }
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings
	@$(MAKE) --no-print-directory test

deb: toolchain ## the Debian package, in target/debian, checked by lintian
	@packaging/build.sh
	@$(MAKE) --no-print-directory lint-deb

lint-deb:
	@packaging/lint.sh target/debian/moca-file-log_*.deb

test-deb: deb ## the package on booted Debian systems (as root): install, upgrade under load, remove, purge
	@for tool in debootstrap systemd-nspawn; do \
		command -v "$$tool" >/dev/null || (( EUID != 0 )) || ! command -v apt-get >/dev/null || { \
			apt-get update -qq; \
			DEBIAN_FRONTEND=noninteractive apt-get install -y -qq debootstrap systemd-container; \
		}; \
	done
	@tests/package/run.sh

setup: toolchain
	@missing=(); \
	for program in $(TEST_PROGRAMS); do command -v "$$program" >/dev/null || missing+=("$$program"); done; \
	if (( $${#missing[@]} == 0 )); then exit 0; fi; \
	if (( EUID == 0 )) && command -v apt-get >/dev/null; then \
		echo "installing what the tests need: $${missing[*]}"; \
		apt-get update -qq; \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$${missing[@]}"; \
	else \
		echo "Tests are skipped for want of: $${missing[*]}. On Debian: sudo apt-get install -y $${missing[*]}" >&2; \
	fi

toolchain:
	@command -v cargo >/dev/null || { \
		echo 'cargo is missing. Rust 1.89 or newer is needed; get it from https://rustup.rs, then run make again.' >&2; \
		exit 1; \
	}
	@command -v cc >/dev/null || { \
		echo 'A linker (cc) is missing. On Debian: sudo apt-get install -y gcc libc6-dev' >&2; \
		exit 1; \
	}

clean: ## remove what was built; logs and state stay
	@cargo clean
