#!/bin/sh
# Trains the bundled model again, in seven stages, from the data sets named on its card. The folder DATA holds openms_bin2/, openms/, m4raw/,
# dib/, uih/ (NIfTI) and hku/ (HDF5). Patient 04 of openms is left out: the benchmarks use it.
#     sh Resources/Models/train_default.sh DATA OUT_FOLDER
# The stages have a time budget (minutes in the YAML files), so another machine takes another number of steps: the first six ran on two
# cores, the last one on an H100 GPU (8,092 steps; its batches were drawn by 13 processes in place of the program's threads).
set -eu
data=$1 out=$2
here=$(dirname "$0")
scans=$(ls "$data"/openms_bin2/*.nii.gz "$data"/openms/*.nii.gz | grep -v p04s1)
scans="$scans $(ls "$data"/m4raw/*.nii.gz "$data"/dib/*.nii.gz "$data"/uih/*.nii.gz)"
for file in "$data"/hku/*.h5; do
    for contrast in FLAIR FSE GRE; do scans="$scans $file::kspace_$contrast"; done
done
# shellcheck disable=SC2086  (the scans are a list)
c2s train --data $scans --config "$here/default-1.yaml" --out "$out/default-1.safetensors"
# shellcheck disable=SC2086
c2s train --data $scans --config "$here/default-2.yaml" --initial "$out/default-1.safetensors" --out "$out/default-2.safetensors"
# shellcheck disable=SC2086
c2s train --data $scans --config "$here/default-3.yaml" --initial "$out/default-2.safetensors" --out "$out/default-3.safetensors"
# shellcheck disable=SC2086
c2s train --data $scans --config "$here/default-4.yaml" --initial "$out/default-3.safetensors" --out "$out/default-4.safetensors"
# shellcheck disable=SC2086
c2s train --data $scans --config "$here/default-5.yaml" --initial "$out/default-4.safetensors" --out "$out/default-5.safetensors"
# shellcheck disable=SC2086
c2s train --data $scans --config "$here/default-6.yaml" --initial "$out/default-5.safetensors" --out "$out/default-6.safetensors"
# shellcheck disable=SC2086
c2s train --data $scans --config "$here/default-7.yaml" --card "$here/default-card.yaml" --initial "$out/default-6.safetensors" \
    --out "$out/default.safetensors"
