#!/usr/bin/env bash
# What a first GPU is asked, in under nine minutes: bash benchmark/gpu.sh OUT [DATA]
# The tests that need a GPU, speed of every way to run a step, and the first runs of the paper's
# schedule as far as they come. OUT gets everything; the same command later continues the runs.
set -uo pipefail
cd "$(dirname "$0")/.."
out=$1
data=${2:-data}
mkdir -p "$out"
timeout 90 python -m pytest -q tests/test_cuda_graph.py -k on_a_gpu > "$out/tests.log" 2>&1
timeout 180 python benchmark/speed.py --rounds 1 --data-dir "$data" --output "$out" \
    > "$out/speed.md" 2> "$out/speed.log"
for method in mergan_ra mergan_jtr; do
    # A scheduler's signal: the run stops after a checkpoint
    timeout 130 python $method.py --schedule paper --data-dir "$data" --run-dir "$out/$method" \
        --snapshots tasks > "$out/$method.log" 2>&1
done
exit 0 # a run that was stopped after its time is no failure
