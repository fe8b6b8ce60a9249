# `make` lists what can be made. Rust with cargo is needed for all of it; see `make toolchain`.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run test test-api test-web test-system check deb lint-deb bench bench-scale bench-micro bench-setup layout setup toolchain clean

# rustup puts cargo here, and a shell that was open before does not know it yet; nginx is in sbin.
export PATH := $(PATH):$(HOME)/.cargo/bin:/usr/sbin

# Programs that tests look for, each in a Debian package of the same name.
TEST_PROGRAMS := strace python3 curl mount redis-server gzip zstd nginx openssl lnav

# What the tests of the page need: the program and its Debian package.
WEB_PROGRAMS := chromium:chromium chromedriver:chromium-driver

# What benchmarks need: the program and its Debian package. They skip what is missing, but for the first two.
BENCH_PROGRAMS := python3:python3 wrk:wrk nginx:nginx openssl:openssl /lib/systemd/systemd-journal-remote:systemd-journal-remote

# Options of the benchmarks, as in: make bench BENCH='--rows single --rounds 2 --seconds 2'
BENCH ?=

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

test: setup ## all tests: unit, property, HTTP, store, and what only a booted system shows
	@cargo test --locked --no-fail-fast $(if $(TEST_THREADS),-- --test-threads='$(TEST_THREADS)')
	@$(MAKE) --no-print-directory test-api
	@$(MAKE) --no-print-directory test-web
	@$(MAKE) --no-print-directory test-system

test-api: setup ## the OpenAPI document against the server that serves it, by Schemathesis
	@cargo build --locked --quiet --bin moca-file-log
	@tests/api/run.sh

test-web: setup ## the page for operators in a real Chromium; pictures of it are in target/web
	@missing=(); \
	for program in $(WEB_PROGRAMS); do command -v "$${program%%:*}" >/dev/null || missing+=("$${program##*:}"); done; \
	if (( $${#missing[@]} > 0 )); then \
		if (( EUID == 0 )) && command -v apt-get >/dev/null; then \
			echo "installing what the tests of the page need: $${missing[*]}"; \
			apt-get update -qq; \
			DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$${missing[@]}" >/dev/null; \
		else \
			echo "The page is not tested for want of: $${missing[*]}. On Debian: sudo apt-get install -y $${missing[*]}" >&2; \
			[[ "$${CI:-}" != true ]]; exit; \
		fi; \
	fi; \
	TEST_THREADS='$(TEST_THREADS)' tests/web/run.sh

check: setup ## what must be green before a change goes in: format, clippy, all tests
	@cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1 || \
		{ echo 'rustfmt or clippy is missing: rustup component add rustfmt clippy' >&2; exit 1; }
	@! grep -rnE '^(<<<<<<<|>>>>>>>)( |$$)' --exclude-dir=.git --exclude-dir=target . || { echo 'a merge left its marks' >&2; exit 1; }
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings
	cargo clippy --test web --locked -- -D warnings
	@$(MAKE) --no-print-directory test

deb: toolchain ## the Debian package, in target/debian, checked by lintian
	@packaging/build.sh
	@$(MAKE) --no-print-directory lint-deb

lint-deb:
	@packaging/lint.sh target/debian/moca-file-log_*.deb

test-system: ## units and package on booted Debian systems, as root: install, upgrade under load, crash, remove, purge
	@missing=(); \
	for tool in debootstrap:debootstrap systemd-nspawn:systemd-container dpkg-scanpackages:dpkg-dev ip:iproute2 curl:curl redis-server:redis-server redis-cli:redis-tools; do \
		command -v "$${tool%%:*}" >/dev/null || missing+=("$${tool##*:}"); \
	done; \
	if (( EUID != 0 )) || ! command -v apt-get >/dev/null; then \
		echo 'Units and package are not tested: that takes Debian and root. There: sudo make test-system' >&2; \
		[[ "$${CI:-}" != true ]]; exit; \
	fi; \
	if (( $${#missing[@]} > 0 )); then \
		apt-get update -qq; \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$${missing[@]}" >/dev/null; \
	fi; \
	$(MAKE) --no-print-directory deb; \
	tests/systemd/run.sh

bench: bench-setup ## this service beside others, in turns, ten minutes; BENCH='--rows single --rounds 2' for less
	@python3 benches/bench.py $(BENCH)

bench-scale: bench-setup ## what growth costs: keys, addresses, limits, connections, a file of 10 GB
	@python3 benches/scale.py $(BENCH)

bench-micro: toolchain ## single functions of the hot path
	@cargo bench --locked --bench micro -- $(BENCH)

layout: toolchain ## anew which functions lie side by side in the program: after changes of what a start or a record takes
	@command -v valgrind >/dev/null || { echo 'valgrind is missing: sudo apt-get install -y valgrind' >&2; exit 1; }
	@python3 benches/layout.py

bench-setup: toolchain
	@missing=(); \
	for program in $(BENCH_PROGRAMS); do command -v "$${program%%:*}" >/dev/null || missing+=("$${program##*:}"); done; \
	if (( $${#missing[@]} > 0 )); then \
		if (( EUID == 0 )) && command -v apt-get >/dev/null; then \
			echo "installing what the benchmarks need: $${missing[*]}"; \
			apt-get update -qq; \
			DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$${missing[@]}" >/dev/null; \
			if [[ " $${missing[*]} " == *' nginx '* && -d /run/systemd/system ]]; then \
				systemctl disable --quiet --now nginx.service; \
			fi; \
		else \
			echo "Missing for the benchmarks: $${missing[*]}. On Debian: sudo apt-get install -y $${missing[*]}" >&2; \
		fi; \
	fi
	@packaging/compile.sh
	@cargo build --release --locked --example bare_hyper --example check_lines --example followers

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
