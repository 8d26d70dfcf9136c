#!/bin/sh
# Stands before rustc (RUSTC_WRAPPER) and has the library, the targets and the parsers they reach compiled with counters of
# coverage, by flags that the stable compiler takes. Everything else keeps its speed.
set -eu
rustc=$1
shift
name= before= target=
for word; do
    [ "$before" = --crate-name ] && name=$word
    # Build scripts and macros run on the machine that compiles, and are compiled for no other.
    [ "$word" = --target ] && target=yes
    before=$word
done
case $target$name in
    yeslangevin | yesarchives | yescheckpoint | yesconfig | yesdiffusers | yesimages | yeslmdb | yesnpy | \
        yesprotobuf | yesprovenance | yesrecords | yessafetensors | yesunpickler | yeszip | yespng | yesfdeflate | \
        yesimage | yeszune_jpeg | yestar | yeslzma_rust2 | yesminiz_oxide | yesserde_json | yestoml | yestoml_parser)
        set -- "$@" --cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
            -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
            -Cllvm-args=-sanitizer-coverage-trace-compares
        ;;
esac
exec "$rustc" "$@"
