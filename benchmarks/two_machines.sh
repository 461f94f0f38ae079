#!/bin/bash
# Two machines on one: network namespaces that a cable joins, each with a hostname and a temporary
# folder of its own, which share another folder. A small simulated drive goes through `haskd run`
# with a process on each; in another run the cable is pulled in the middle of the first training, and
# the same command goes on. Needs root (ip netns, unshare).
# `bash benchmarks/two_machines.sh FOLDER`, a new one.
set -euo pipefail
shared=$(realpath -m "${1:?a folder that does not exist yet}")
python=${PYTHON:-python}
here=$(cd "$(dirname "$0")/.." && pwd)
export PYTHONPATH="$here:$here/training${PYTHONPATH:+:$PYTHONPATH}" OMP_NUM_THREADS=1
[ -e "$shared" ] && { echo "$shared is there already"; exit 2; }
mkdir -p "$shared"
cd "$shared"

names=(first-machine second-machine)
spaces=("haskd-a-$$" "haskd-b-$$")
clean() { for space in "${spaces[@]}"; do ip netns delete "$space" 2>/dev/null || true; done; }
trap clean EXIT
for space in "${spaces[@]}"; do ip netns add "$space"; done
ip -n "${spaces[0]}" link add cable type veth peer name cable netns "${spaces[1]}"
for k in 0 1; do
    ip -n "${spaces[k]}" address add "10.83.0.$((k + 1))/24" dev cable
    ip -n "${spaces[k]}" link set cable up
    ip -n "${spaces[k]}" link set lo up
done

"$python" -m haskd_training simulate drive --set seed=1 --set duration_s=2 --set azimuth_steps=120 \
    --set "cameras=[front]" --set image_width=96 --set image_height=64 --set camera_rate_hz=5 >/dev/null

# machine K OUT [SETTING...]: torchrun there, with a temporary folder of its own
machine() {
    local k=$1 out=$2
    shift 2
    ip netns exec "${spaces[k]}" unshare --uts --mount bash -c '
        hostname "$0"
        mount -t tmpfs tmpfs '"$own"'
        export TMPDIR='"$own"' GLOO_SOCKET_IFNAME=cable HASKD_PEER_TIMEOUT_S='"${patience:-20}"'
        exec "$@"' "${names[k]}" \
        "$python" -m torch.distributed.run --nnodes 2 --node-rank "$k" --nproc-per-node 1 \
        --master-addr 10.83.0.1 --master-port 29500 \
        -m haskd_training run drive --labels simulation --out "$out" --set student.voxel_size=1 \
        --set student.snapshots=2 --set student.loop.epochs=2 --set student.loop.save_every=1 \
        --set student.loop.device=cpu --set selection.window_s=0.3 --set prepare.overlays=0 "$@" \
        >"$out-${names[k]}.txt" 2>&1
}
own=$(mktemp -d)
trap 'clean; rmdir "$own"' EXIT

# both OUT: the exit codes of the two machines, and what they say of errors
both() {
    local started=$SECONDS codes=()
    machine 0 "$1" & local a=$!
    machine 1 "$1" & local b=$!
    if [ -n "${cut:-}" ]; then
        until compgen -G "$1/stages/baseline-*/checkpoint.safetensors" >/dev/null; do sleep 0.05; done
        ip -n "${spaces[1]}" link set cable down
        started=$SECONDS
        echo "the cable is pulled"
    fi
    for job in $a $b; do wait "$job" && codes+=(0) || codes+=($?); done
    echo "$1: exit codes ${codes[*]} after $((SECONDS - started)) s"
    grep -h "^error:\|^model:" "$1"-*-machine.txt || true
}
both whole
cut=yes both pulled
ip -n "${spaces[1]}" link set cable up
both pulled
"$python" - <<'PY'
from pathlib import Path
one, other = (Path(name) / "stages" for name in ("whole", "pulled"))
files = sorted(path.relative_to(one) for path in one.rglob("*.safetensors"))
same = sum((one / f).read_bytes() == (other / f).read_bytes() for f in files)
print(f"{same} of {len(files)} files of the stages are the same as of the run that nobody disturbed")
PY
