#!/bin/sh
# install-locked.sh VENV LOCK [TORCH_BACKEND]
#
# Installs a lock into a virtual environment, with another build of PyTorch where one is named.
# PyTorch's own index serves each build under the same version but with hashes of its own, so
# torch and torchvision are held to their locked versions there, and all else to its hashes.
set -eu
venv=$1 lock=$2 backend=${3:-}
install="uv pip install --python $venv/bin/python --no-cache --compile-bytecode"

if [ -z "$backend" ]; then
  exec $install --require-hashes -r "$lock"
fi

# A lock's entry is a line `name==version` and indented lines of hashes.
rest=$(mktemp)
awk '/^[a-z]/ { keep = !/^(torch|torchvision|triton|nvidia-[^=]*|cuda-[^=]*)==/ } keep' "$lock" >"$rest"
torch=$(sed -n 's/^\(torch==[^ ;]*\).*/\1/p; s/^\(torchvision==[^ ;]*\).*/\1/p' "$lock")
# Complete as a lock is, what is left of it needs no resolving.
$install --require-hashes --no-deps -r "$rest"
$install --torch-backend "$backend" $torch
