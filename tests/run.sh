#!/bin/sh
# Sets everything up and runs every check and test: sh tests/run.sh [pytest arguments]
# Needs Python >= 3.11 with venv; makes its own virtual environment in .venv-test.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
environment=${ANDON_TEST_ENVIRONMENT:-.venv-test}
if [ ! -x "$environment/bin/python" ]; then
    "$python" -m venv "$environment"
fi
if [ "${CI:-}" = true ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    # A pipeline's tests use the real programs (PROGRAM:PACKAGE where the names differ); elsewhere
    # they are skipped by name where these are missing.
    for program in chromium prometheus prometheus-alertmanager systemd-analyze:systemd \
            java:default-jre-headless mvn:maven; do
        command -v "${program%%:*}" >/dev/null || missing="${missing:-} ${program##*:}"
    done
    if [ -n "${missing:-}" ]; then
        apt-get update -qq
        # shellcheck disable=SC2086
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
    fi
fi
"$environment/bin/python" -m pip install --quiet --disable-pip-version-check -e '.[dev]'
# The published package that our VUS-PR must equal. Without its dependencies: they are a gigabyte of
# deep learning that its metrics never import.
"$environment/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps 'TSB-AD==1.5'
"$environment/bin/ruff" check .
# Kernels are compiled on the second core meanwhile: two test processes would both do it.
"$environment/bin/python" -c \
    'from streams import fast_rows, settings, warm_up; warm_up.warm(fast_rows.for_service(settings.load(None, {}, {})))' &
"$environment/bin/mypy"
wait "$!"
OPENBLAS_NUM_THREADS=1 "$environment/bin/python" -m pytest -n "${ANDON_TEST_JOBS:-2}" --dist loadfile "$@"
