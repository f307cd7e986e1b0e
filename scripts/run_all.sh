#!/usr/bin/env bash
# Sets up .venv, then runs every step of one run: see run_all.py, or --help.
#
#   ./scripts/run_all.sh                                    the embedded, made-up sample
#   ./scripts/run_all.sh track1-mandarin --corpus.root DIR  the challenge
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh" requirements.txt
exec "$python" "$repository/scripts/run_all.py" "$@"
