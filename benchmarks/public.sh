#!/usr/bin/env bash
# A public benchmark, from the download to a row of results: docs/benchmarks.md.
#
#   benchmarks/public.sh ROOT --reader NAME [--recipe FILE] [--set KEY=VALUE]... [--method labels|has-kd]
#                        [--splits TRAIN,VAL] [--out DIR] [--check]
#
# ROOT      the data set's folder, as `haskd prepare --reader NAME` reads it
# --recipe  settings of `haskd baseline`, as config/recipes/outdoor.yaml; default: the package's
# --set     one of these settings; beats the recipe
# --method  labels: a row of a training on labels alone, by `haskd baseline`. has-kd: a row of that and one
#           of the distilled student, by `haskd ablate`, which trains both; needs images
# --splits  default: train and the split that the benchmark counts
# --out     default: public. DIR/results.jsonl and DIR/results.md get the rows, DIR/public.log each step
# --check   look at ROOT and the settings, and do nothing
#
# Before any work all files are looked at. A finished step is skipped, an interrupted one goes on. PYTHON
# names the Python that has the package's dependencies (default: python3).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-python3}
export PYTHONPATH="$here/..:$here/../training${PYTHONPATH:+:$PYTHONPATH}"

fail() {
    echo "error: $1" >&2
    exit "${2:-2}"
}

root='' reader='' recipe='' method=labels splits='' out=public check='' settings=()
while [ $# -gt 0 ]; do
    case $1 in
    --check)
        check=1
        shift
        continue
        ;;
    --reader | --recipe | --set | --method | --splits | --out)
        [ $# -gt 1 ] || fail "$1 needs a value"
        case $1 in
        --reader) reader=$2 ;;
        --recipe) recipe=$2 ;;
        --set) settings+=(--set "$2") ;;
        --method) method=$2 ;;
        --splits) splits=$2 ;;
        --out) out=$2 ;;
        esac
        shift 2
        continue
        ;;
    -h | --help)
        sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
        exit
        ;;
    -*) fail "no option $1; there are --reader, --recipe, --set, --method, --splits, --out, --check" ;;
    esac
    [ -z "$root" ] || fail "two folders: $root and $1"
    root=$1
    shift
done
[ -n "$root" ] && [ -n "$reader" ] || fail "usage: $0 ROOT --reader NAME [--recipe FILE] [--out DIR]"
[ "$method" = labels ] || [ "$method" = has-kd ] || fail "no method $method; there are labels, has-kd"

rows() { "$python" "$here/public_rows.py" "$@"; }
given=(--reader "$reader" --method "$method")
[ -z "$splits" ] || given+=(--splits "$splits")
[ -z "$recipe" ] || given+=(--recipe "$recipe")
[ ${#settings[@]} -eq 0 ] || given+=("${settings[@]}")
plan=$(rows check "$root" "${given[@]}") || exit
{
    read -r train val data device run
    read -r student
    read -r ablation || true
} <<<"$plan"
[ -z "$check" ] || exit 0

# A step is known by its command: the same wherever this is called from.
mkdir -p "$out"
root=$(cd "$root" && pwd) out=$(cd "$out" && pwd)
caches=$out/$data run=$out/$data/$run
mkdir -p "$run/steps" "$caches/steps"
commit=$(git -C "$here" rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
[ -z "$(git -C "$here" status --porcelain --untracked-files=no 2>/dev/null)" ] || commit+=-changed

log() { echo "$(date -u +%Y-%m-%dT%H:%M:%SZ) $reader: $1" | tee -a "$out/public.log" >&2; }

child='' worked=''
stop() {
    trap '' INT TERM
    [ -z "$child" ] || { kill -TERM "$child" && wait "$child"; } 2>/dev/null || true
    log "interrupted; the same command goes on"
    exit "$1"
}
trap 'stop 130' INT
trap 'stop 143' TERM

# FOLDER NAME COMMAND...: FOLDER/steps/NAME says how long it took, at which commit, and what was done; its
# output is in NAME.log beside it.
step() {
    local done=$1/steps/$2 name=$2 code=0 started=$SECONDS took
    shift 2
    if [ -f "$done" ] && [ "$(sed -n 3p "$done")" = "$*" ]; then
        log "$name: skipped, done in $(head -n 1 "$done") s"
        return
    fi
    worked=1
    log "$name: begins; output in $done.log"
    "$@" >>"$done.log" 2>&1 &
    child=$!
    wait "$child" || code=$?
    child='' took=$((SECONDS - started))
    if [ "$code" -ne 0 ]; then
        log "$name: failed after $took s"
        fail "$name ended with $code: $(grep -v '^ *$' "$done.log" | tail -n 1) (all of it: $done.log)" "$code"
    fi
    printf '%s\n%s\n%s\n' "$took" "$commit" "$*" >"$done.new"
    mv "$done.new" "$done"
    log "$name: done in $took s"
}

haskd=("$python" -m haskd_training)
step "$caches" "prepare-$train" "${haskd[@]}" prepare "$root" --reader "$reader" --split "$train" \
    --out "$caches/$train"
step "$caches" "prepare-$val" "${haskd[@]}" prepare "$root" --reader "$reader" --split "$val" \
    --out "$caches/$val"
echo "$student" >"$run/student.json"
if [ "$method" = labels ]; then
    step "$run" train "${haskd[@]}" baseline "$caches/$train" --config "$run/student.json" \
        --out "$run/baseline"
    models=("labels:$run/baseline")
else
    echo "$ablation" >"$run/ablation.json"
    step "$run" ablate "${haskd[@]}" ablate "$caches/$train" --test "$caches/$val" \
        --config "$run/ablation.json" --out "$run/ablation" --results "$run/table"
    # A folder of each, since the run's own folder is that of its settings.
    models=("labels:$(echo "$run"/ablation/stages/baseline-*)"
        "has-kd:$(echo "$run"/ablation/stages/student-*)")
fi
for pair in "${models[@]}"; do
    name=${pair%%:*} model=${pair#*:}/model.safetensors
    [ -f "$model" ] || fail "not one model file of row $name: $model"
    step "$run" "evaluate-$method-$name" "${haskd[@]}" evaluate "$model" "$caches/$val" \
        --protocol "$reader" --device "$device" --out "$run/scores-$method-$name"
    step "$run" "row-$method-$name" "$python" "$here/public_rows.py" row "$run" "$name" \
        --method "$method" --caches "$caches" --train "$train" --val "$val" --reader "$reader" \
        --recipe "${recipe:-defaults}" --model "$model" --results "$out"
done
[ -n "$worked" ] || log "nothing to do: all of it was done"
tail -n 1 "$run/steps/row-$method-$name.log"
