# Sets up .venv in the repository, once per requirements.txt; sourced by run_all.sh and run_tests.sh.
set -euo pipefail
repository="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
python="$repository/.venv/bin/python"
wanted="$(cat "$repository/requirements.txt" "$repository/pyproject.toml" | sha256sum)"
if [ ! -x "$python" ] || [ "$(cat "$repository/.venv/installed" 2>/dev/null)" != "$wanted" ]; then
    base="${PYTHON:-python3}"
    "$base" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or later is needed")'
    echo "setting up $repository/.venv (a few minutes, once)"
    [ -x "$python" ] || "$base" -m venv "$repository/.venv"
    export PIP_DISABLE_PIP_VERSION_CHECK=1
    "$python" -m pip install --quiet --quiet -r "$repository/requirements.txt"
    "$python" -m pip install --quiet --no-deps --editable "$repository"
    echo "$wanted" > "$repository/.venv/installed"
fi
