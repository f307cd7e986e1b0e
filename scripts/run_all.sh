#!/usr/bin/env bash
# Runs every step of one run, from clips to submission.zip and report.html. Sets up .venv first.
#
#   ./scripts/run_all.sh                                    the embedded, made-up sample
#   ./scripts/run_all.sh track1-mandarin --corpus.root DIR  the challenge; --help lists all settings
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
[ $# -gt 0 ] || set -- sample
case " $* " in
    *" --help "* | *" -h "*) exec "$python" "$repository/scripts/09_report.py" "$@" ;;
esac
steps=(01_transcribe 02_refine_punctuation 03_extract_features 04_make_folds 05_train_stage1 06_pseudo_label
    07_train_stage2 08_ensemble 09_report)
[ "$1" != sample ] || steps=(00_make_sample "${steps[@]}")
for step in "${steps[@]}"; do
    echo
    echo "== $step"
    "$python" "$repository/scripts/$step.py" "$@"
done
