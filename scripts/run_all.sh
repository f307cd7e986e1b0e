#!/usr/bin/env bash
# Runs every step of one run, from clips to submission.zip and report.html. Sets up .venv first.
#
#   ./scripts/run_all.sh                                    the embedded, made-up sample
#   ./scripts/run_all.sh track1-mandarin --corpus.root DIR  the challenge
#   ./scripts/run_all.sh --help                             all presets and settings
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh" requirements.txt
case " $* " in
    *" --help "* | *" -h "* | *" --help-all "*)
        about="$(sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}")"
        exec "$python" -c 'import sys; from meiju.config import show_help; show_help("run_all.sh", sys.argv[1])' "$about"
        ;;
esac
arguments=("$@")
[ $# -gt 0 ] || arguments=(sample)
steps=(01_transcribe 02_refine_punctuation 03_extract_features 04_make_folds 05_train_stage1 06_pseudo_label
    07_train_stage2 08_ensemble 09_report)
[ "${arguments[0]}" != sample ] || steps=(00_make_sample "${steps[@]}")
for step in "${steps[@]}"; do
    echo
    echo "== $step"
    "$python" "$repository/scripts/$step.py" "${arguments[@]}"
done
if [ $# -eq 0 ]; then
    echo
    "$python" "$repository/scripts/compare_reference.py"
fi
