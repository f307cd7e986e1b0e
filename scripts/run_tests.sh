#!/usr/bin/env bash
# Lints and tests. Sets up .venv first.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh" requirements.txt requirements-serve.txt requirements-dev.txt
cd "$repository"
"$python" -m ruff check .
"$python" -m ruff format --check .
"$python" -m pytest "$@"
