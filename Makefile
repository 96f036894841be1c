# Everything sets itself up: the two commands a newcomer needs are `make demo` and `make test`.
.DEFAULT_GOAL := help
CARGO ?= cargo
# One set of features and one profile for all of it, so that every crate compiles once.
FEATURES := --all-features
DEMO_ARGS ?=
BENCH_ARGS ?=

.PHONY: help demo test fmt clippy doc unit smoke deny bench histories postgres

help: ## Show what there is.
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: postgres ## Run the main job: a team of agents answers a task over this project's documents.
	$(CARGO) run -q $(FEATURES) --bin dacapo -- demo $(DEMO_ARGS)

test: postgres fmt clippy doc unit smoke ## Check format, lints and docs, run all tests and a smoke run of the demo.
	@echo "all checks passed"

fmt:
	$(CARGO) fmt --all --check

clippy:
	$(CARGO) clippy --workspace --all-targets $(FEATURES) -- -D warnings
	@for features in "" dev server builtin cli; do \
	  echo "clippy of the library with features '$$features'"; \
	  $(CARGO) clippy -q -p dacapo --lib --features "$$features" -- -D warnings || exit 1; \
	done

doc:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps $(FEATURES)

unit:
	@! $(CARGO) tree -p dacapo-core -i tokio >/dev/null 2>&1 || { echo "dacapo-core must not depend on tokio"; exit 1; }
	$(CARGO) test --workspace $(FEATURES)

smoke:
	@mkdir -p target
	$(CARGO) run -q $(FEATURES) --bin dacapo -- demo --json > target/demo.json
	@grep -q '"status":"completed"' target/demo.json && echo "the demo completed"

histories: postgres ## Record the histories in tests/histories that are not there yet.
	DACAPO_RECORD_HISTORIES=1 $(CARGO) test $(FEATURES) --test it histories

deny: ## Check licences and advisories of dependencies (needs cargo-deny).
	$(CARGO) deny check

bench: postgres ## Measure every scenario in a release build; BENCH_ARGS="noop --json" for one of them.
	$(CARGO) run -q --release $(FEATURES) --bin dacapo -- bench $(BENCH_ARGS)

# Postgres server binaries: found as the program finds them, or installed where the distribution is known.
postgres:
	@if [ -n "$$DATABASE_URL" ] || [ -n "$$DACAPO_PG_BIN" ] || command -v initdb >/dev/null 2>&1 \
	  || [ -x "$$(pg_config --bindir 2>/dev/null)/initdb" ] \
	  || ls /usr/lib/postgresql/*/bin/initdb /usr/pgsql-*/bin/initdb /opt/homebrew/opt/postgresql*/bin/initdb >/dev/null 2>&1; then :; \
	elif command -v apt-get >/dev/null 2>&1; then \
	  SUDO=$$([ "$$(id -u)" = 0 ] || echo sudo); \
	  echo "installing the distribution's postgresql package" >&2; \
	  $$SUDO apt-get update -q && DEBIAN_FRONTEND=noninteractive $$SUDO apt-get install -q -y --no-install-recommends postgresql; \
	elif command -v dnf >/dev/null 2>&1; then \
	  SUDO=$$([ "$$(id -u)" = 0 ] || echo sudo); $$SUDO dnf install -y postgresql-server; \
	elif command -v brew >/dev/null 2>&1; then brew install postgresql@16; \
	else echo "install PostgreSQL 14 or newer (the server: initdb and postgres), or set DATABASE_URL" >&2; exit 1; fi
