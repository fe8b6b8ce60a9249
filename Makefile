# `make` lists the targets. Each needs Rust with cargo (see `make toolchain`) and installs the rest
# itself where it runs as root on Debian; elsewhere it prints the command that does.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run test test-rust test-memory test-api test-senders test-web test-system check fmt clippy msrv msrv-lint \
	doc deny advisories fuzz-smoke coverage miri loom deb lint-deb bench bench-scale bench-micro bench-setup setup toolchain clean

# rustup installs cargo here, and a shell that is older than rustup does not know the folder; nginx
# is in sbin.
export PATH := $(PATH):$(HOME)/.cargo/bin:/usr/sbin

# The programs that tests start, each with its Debian package. Without one, the tests that need it
# are skipped; with CI=true that is a failure.
TEST_PROGRAMS := strace:strace python3:python3 curl:curl mount:mount redis-server:redis-server gzip:gzip zstd:zstd \
	nginx:nginx openssl:openssl lnav:lnav ip:iproute2 faketime:faketime
WEB_PROGRAMS := chromium:chromium chromedriver:chromium-driver
SYSTEM_PROGRAMS := debootstrap:debootstrap systemd-nspawn:systemd-container nsenter:util-linux flock:util-linux \
	dpkg-scanpackages:dpkg-dev ip:iproute2 curl:curl redis-server:redis-server redis-cli:redis-tools
BENCH_PROGRAMS := python3:python3 wrk:wrk nginx:nginx openssl:openssl \
	/lib/systemd/systemd-journal-remote:systemd-journal-remote

# Options of the benchmarks, as in: make bench BENCH='--rows single --rounds 2 --seconds 2'
BENCH ?=

# The number of tests that run at once; by default one for each core. Many of them start a server of
# their own.
TEST_THREADS ?=

# The seconds that `make fuzz-smoke` gives to each target.
FUZZ_SECONDS ?= 10

# The steps of `make check`. Each is also a separate target.
CHECK_STEPS := fmt deny clippy msrv-lint doc test-rust test-api test-senders test-web fuzz-smoke test-system

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' '$(firstword $(MAKEFILE_LIST))' | expand -t 13

run: toolchain ## build the server and serve the log sample1 from configs/; Ctrl-C stops it
	@cargo build --release --locked --bin moca-file-log
	@port=$$(tr -d '\n' <configs/log.json | sed -n 's/.*"sample1"[^}]*"port": *\([0-9]*\).*/\1/p'); \
	url="http://127.0.0.1:$${port:-5700}"; \
	printf '\nsample1 is served on %s\n\nSave a record:\n' "$$url"; \
	printf "  curl -H 'API-KEY: mochimochi' --data-urlencode 'message=hello world' %s/moca-file-log/save-log\n" "$$url"; \
	printf 'Read the latest records:\n'; \
	printf "  curl -H 'API-KEY: mochimochi' -H 'ROOT-PASS: mochimochi' %s/moca-file-log/get-latest-logs\n\n" "$$url"
	@exec cargo run --quiet --release --locked --bin moca-file-log -- sample1 \
		--config-dir configs --log-dir client_logs --state-dir state

test: ## run all tests: the five targets below
	@$(MAKE) --no-print-directory test-rust
	@$(MAKE) --no-print-directory test-api
	@$(MAKE) --no-print-directory test-senders
	@$(MAKE) --no-print-directory test-web
	@$(MAKE) --no-print-directory test-system

test-rust: setup ## run the tests in Rust: unit, property and black-box tests of all programs
	@TEST_THREADS='$(TEST_THREADS)' tools/run-tests.sh

test-memory: toolchain ## run the tests over HTTP on the engine in memory, without those that need a file
	@MOCA_TEST_ENGINE=memory cargo nextest run --locked --test http --profile memory

test-api: setup ## test the OpenAPI document against the server that serves it, by Schemathesis
	@cargo build --locked --quiet --bin moca-file-log
	@tests/api/run.sh

test-senders: setup ## test with real clients: logging libraries, HTTP clients, curl, syslog-ng
	@cargo build --locked --quiet --bin moca-file-log
	@tests/senders/run.sh

test-web: toolchain ## test the page for operators in a real Chromium; its pictures are in target/web
	@if tools/install-packages.sh 'the tests of the page' $(WEB_PROGRAMS); then \
		TEST_THREADS='$(TEST_THREADS)' tests/web/run.sh; \
	else \
		echo 'The tests of the page are skipped.' >&2; \
		[[ "$${CI:-}" != true ]]; \
	fi

test-system: ## test units and package on booted Debian systems, as root: install, upgrade under load, crash, purge
	@if ((EUID == 0)) && command -v apt-get >/dev/null && \
		tools/install-packages.sh 'the tests of booted systems' $(SYSTEM_PROGRAMS); then \
		$(MAKE) --no-print-directory deb; \
		tests/systemd/run.sh; \
	else \
		echo 'The tests of booted systems are skipped. They need Debian and root: sudo make test-system' >&2; \
		[[ "$${CI:-}" != true ]]; \
	fi

check: ## run everything that must pass before a change is merged, step by step
	@for step in $(CHECK_STEPS); do \
		printf '\n== step: %s\n' "$$step"; \
		start=$$SECONDS; \
		$(MAKE) --no-print-directory "$$step" || \
			{ echo "== step: $$step failed after $$((SECONDS - start)) s" >&2; exit 1; }; \
		echo "== step: $$step took $$((SECONDS - start)) s"; \
	done

fmt: toolchain ## check the format of the code, and that no merge left its marks
	@! grep -rnE '^(<<<<<<<|>>>>>>>)( |$$)' --exclude-dir=.git --exclude-dir=target . || \
		{ echo 'The lines above are marks of an unfinished merge.' >&2; exit 1; }
	cargo fmt --check
	cargo fmt --check --manifest-path fuzz/Cargo.toml

clippy: toolchain ## run clippy on all targets, tests and benchmarks included; a warning is a failure
	cargo clippy --all-targets --locked -- -D warnings
	cargo clippy --test web --locked -- -D warnings

msrv-lint: toolchain ## check by clippy, and by what libraries declare, that the oldest supported Rust is enough
	cargo clippy --lib --bins --locked -- -A clippy::all -D clippy::incompatible_msrv
	@tools/install-packages.sh 'the check of versions' python3:python3
	@tools/check-rust-versions.py

msrv: toolchain ## build with the oldest supported Rust itself (rust-version in Cargo.toml)
	@version=$$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml); \
	if ! cargo "+$$version" --version >/dev/null 2>&1; then \
		echo "Rust $$version is missing: rustup toolchain install $$version --profile minimal" >&2; \
		exit 1; \
	fi; \
	CARGO_TARGET_DIR=target/msrv cargo "+$$version" check --locked --lib --bins

doc: toolchain ## build the documentation of all items, private ones included; a warning is a failure
	RUSTDOCFLAGS='-D warnings -A rustdoc::private-intra-doc-links' cargo doc --no-deps --document-private-items --locked

deny: toolchain ## check licences, duplicates and sources of the libraries (deny.toml)
	@deny=$$(tools/cargo-tool.sh cargo-deny) || { [[ "$${CI:-}" != true ]]; exit; }; \
	"$$deny" --locked check licenses bans sources

advisories: toolchain ## check the libraries for known vulnerabilities; fetches the database of rustsec.org
	@deny=$$(tools/cargo-tool.sh cargo-deny); \
	"$$deny" --locked check advisories

fuzz-smoke: toolchain ## run each fuzz target for some seconds over its seeds (FUZZ_SECONDS=10)
	@tools/install-packages.sh 'the fuzz targets' c++:g++
	@fuzz/run.sh '$(FUZZ_SECONDS)'

coverage: setup ## measure which lines the tests in Rust reach; the report is target/llvm-cov/html/index.html
	@llvm_cov=$$(tools/cargo-tool.sh cargo-llvm-cov); \
	nextest=$$(tools/cargo-tool.sh cargo-nextest); \
	if [[ -z "$${LLVM_PROFDATA:-}" ]] && ! ls "$$(rustc --print sysroot)"/lib/rustlib/*/bin/llvm-profdata >/dev/null 2>&1; then \
		echo 'The LLVM tools of the toolchain are missing: rustup component add llvm-tools' >&2; \
		exit 1; \
	fi; \
	PATH="$$(dirname "$$nextest"):$$PATH" "$$llvm_cov" llvm-cov nextest --locked --html

loom: toolchain ## run the models of the commit group, in every order of their threads
	@cd tests/loom && RUSTFLAGS='--cfg loom' CARGO_TARGET_DIR='$(CURDIR)/target/loom' cargo test --release --locked --lib

# The modules that do no I/O and call no C code, so that Miri can run their tests.
MIRI_MODULES := swar:: record:: config::values:: store::cursor::
miri: toolchain ## run the unit tests of pure modules under Miri, which finds undefined behaviour
	@if ! cargo +nightly miri --version >/dev/null 2>&1; then \
		echo 'Miri is missing: rustup toolchain install nightly --component miri rust-src' >&2; \
		exit 1; \
	fi; \
	PROPTEST_CASES=8 MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test --locked --lib -- $(MIRI_MODULES)

deb: toolchain ## build the Debian package in target/debian and check it by lintian
	@packaging/build.sh
	@$(MAKE) --no-print-directory lint-deb

lint-deb:
	@packaging/lint.sh target/debian/moca-file-log_*.deb

bench: bench-setup ## compare this service with others, ten minutes; BENCH='--rows single --rounds 2' for less
	@python3 benches/bench.py $(BENCH)

bench-scale: bench-setup ## measure what growth costs: keys, addresses, limits, connections, a file of 10 GB
	@python3 benches/scale.py $(BENCH)

bench-micro: toolchain ## measure single functions of the hot path
	@cargo bench --locked --bench micro -- $(BENCH)

# The benchmarks leave out what is missing, except python3 and wrk.
bench-setup: toolchain
	@tools/install-packages.sh --optional 'the benchmarks' $(BENCH_PROGRAMS)
	@packaging/compile.sh
	@cargo build --release --locked --example bare_hyper --example check_lines --example followers

setup: toolchain
	@tools/install-packages.sh --optional 'the tests' $(TEST_PROGRAMS)

toolchain:
	@command -v cargo >/dev/null || { \
		echo 'cargo is missing. Install Rust from https://rustup.rs, then run make again.' >&2; \
		exit 1; \
	}
	@command -v cc >/dev/null || tools/install-packages.sh 'the build' cc:gcc ld:binutils /usr/include/stdlib.h:libc6-dev

clean: ## remove everything that was built; logs and state stay
	@cargo clean
