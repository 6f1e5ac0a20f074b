# make run    everything: installs, migrates, starts, prints one URL
# make test   the whole test suite, on PostgreSQL and Redis of its own;
#             TESTS="tests/identity tests/test_x.py" chooses from it
.PHONY: run test test-fast test-deployment faults check fmt bench demo messages screenshots fuzz lock sbom audit
.SILENT:

# Images set it, and then every process compiles all modules anew.
unexport PYTHONDONTWRITEBYTECODE
# More than the processors of a small machine: tests of systems and browsers mostly wait. With
# four some of them ran out of time where other programs ran, too.
WORKERS := 3
# How long `make fuzz` searches.
SECONDS := 240
TESTS ?=
# File by file, in the order of tests/conftest.py and not by their number of tests.
PYTEST := .venv/bin/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder
PIP := .venv/bin/python -m pip -qq --disable-pip-version-check --no-input

run: .venv/.runtime
	exec .venv/bin/python manage.py run

demo: .venv/.runtime
	exec .venv/bin/python manage.py demo

# Each worker has a database, a Redis and, where tests ask for it, a system of its own.
test: .venv/.development
	$(PYTEST) $(TESTS)

# No browser, no process of its own, no npm packages, and a quarter of the time for parsers.
test-fast: export FUZZ_SECONDS := 5
test-fast: .venv/.development
	$(PYTEST) -m "not system and not browser" --ignore=tests/browser --ignore=tests/clients $(TESTS)

# Two of each process behind nginx, with TLS. Needs nginx (apt-get install nginx-light).
# The image, if docker or podman works here.
test-deployment: .venv/.development
	TEST_DEPLOYMENT=1 .venv/bin/python -m pytest tests/notifyweb/test_behind_nginx.py \
	  tests/notifyweb/test_image.py

# Every fault of docs/reliability.md against one running system, and the storm; 45 minutes
# at most. FAULTS="--sample 20 --seed 7" or FAULTS="--only postgres" chooses from them.
FAULTS ?= --storm 5000,500,180
faults: .venv/.development
	.venv/bin/python -m tests.faults --json faults.json $(FAULTS)

check: .venv/.development
	.venv/bin/ruff format --check
	.venv/bin/ruff check
	.venv/bin/mypy
	.venv/bin/lint-imports
	NOTIFYWEB_DATA_DIR=.data-test .venv/bin/python manage.py makemigrations --check --dry-run

fmt: .venv/.development
	.venv/bin/ruff check --fix-only
	.venv/bin/ruff format

# Needs gettext (apt-get install gettext). The compiled catalogs are committed.
MESSAGES := .venv/bin/python manage.py makemessages --all --add-location=file --no-wrap \
	--ignore=tests --ignore=.venv --ignore=staticfiles --ignore=bench --ignore=deploy --ignore=docs \
	--ignore=static/vendor/*
messages: .venv/.development
	$(MESSAGES)
	$(MESSAGES) --domain djangojs
	.venv/bin/python manage.py compilemessages --ignore=.venv

bench: .venv/.development
	.venv/bin/python -m bench

fuzz: .venv/.development
	.venv/bin/python -m tests.fuzz.run --seconds $(SECONDS)

# The hashes of what is pinned, after a change of a pin. Nothing is resolved: the pins decide.
HASHES := .venv-tools/bin/uv pip compile - --no-deps --universal --python-version 3.11 \
	--generate-hashes --no-header --no-annotate --quiet
lock: .venv-tools/.made
	for list in requirements requirements-dev requirements-tools; do \
	  grep -E '^(#|-r )' $$list.txt >$$list.new; \
	  grep -v '^-r ' $$list.txt | $(HASHES) >>$$list.new && mv $$list.new $$list.txt || exit 1; \
	done

# CycloneDX, of what runs and of the npm packages that tests use.
sbom: .venv-tools/.made
	mkdir -p dist
	.venv-tools/bin/cyclonedx-py requirements requirements.txt --output-reproducible \
	  --of JSON -o dist/notifyweb.cdx.json
	cd tests/clients && npm sbom --sbom-format cyclonedx --package-lock-only \
	  >../../dist/client-tests.cdx.json
	ls dist/*.cdx.json

# Needs the advisory services of PyPI and npm; says so if they cannot be reached.
audit: .venv-tools/.made
	.ci/audit

# Every page in three widths, light, dark and German, in .data-screenshots/.
screenshots: .venv/.development
	.venv/bin/python -m tests.browser.pictures

.venv/.runtime: requirements.txt .venv/.made
	echo "notifyweb | installing into .venv"
	$(PIP) install -r requirements.txt
	touch $@

.venv/.development: requirements-dev.txt .venv/.runtime
	echo "notifyweb | installing what tests need into .venv"
	$(PIP) install -r requirements-dev.txt
	touch $@

.venv-tools/.made: requirements-tools.txt .venv/.made
	.venv/bin/python -m venv .venv-tools
	.venv-tools/bin/python -m pip -qq --disable-pip-version-check install -r requirements-tools.txt
	touch $@

# For Python 3.14 some packages have no wheels yet, so an older one is preferred.
.venv/.made:
	python=; \
	for newest in $(if $(PYTHON),99,13) 99; do \
	  for name in $(PYTHON) python3 python3.13 python3.12 python3.11 python3.14; do \
	    if [ -z "$$python" ] && "$$name" -c "import sys; \
	      sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, $$newest))" 2>/dev/null; \
	    then python=$$name; fi; \
	  done; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "notifyweb needs Python 3.11 or later; none was found." >&2; exit 2; fi; \
	if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
	  echo "notifyweb needs Python's venv module (Debian: apt-get install python3-venv)." >&2; \
	  exit 2; fi; \
	"$$python" -m venv .venv && touch $@
