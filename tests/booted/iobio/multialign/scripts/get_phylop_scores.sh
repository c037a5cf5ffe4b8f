#!/bin/bash
# As the script of this name in multialign: what it prints goes through a directory of its own beside it.
own=$(cat /proc/sys/kernel/random/uuid)
mkdir -p "$own"
./bigwig view -r "$2" "../$1/100way/$1.phyloP100way.bw" >"$own/phylop.out"
cat "$own/phylop.out"
rm -rf "$own"
