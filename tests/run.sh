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
"$environment/bin/python" -m pip install --quiet --disable-pip-version-check -e '.[dev]'
"$environment/bin/ruff" check .
"$environment/bin/mypy"
OPENBLAS_NUM_THREADS=1 "$environment/bin/python" -m pytest "$@"
