#!/usr/bin/env bash
# Builds the project for Windows on Linux; --prepare installs what that takes, with apt.
#
#     tools/windows/build.sh --prepare
#     tools/windows/build.sh build --bin gen
#     tools/windows/build.sh test --no-run --test kernels
#
# With Debian's Rust, whose standard library is there as source, and with mingw's linker. Programs lie under
# target/windows/x86_64-pc-windows-gnu/release/. TARGET=aarch64-apple-darwin takes another target, for `check` alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
if [ "${1:-}" = --prepare ]; then
    DEBIAN_FRONTEND=noninteractive exec apt-get install -y -qq --no-install-recommends \
        rustc-web cargo-web rust-web-src gcc-mingw-w64-x86-64 binutils-mingw-w64-x86-64 >/dev/null
fi
target=${TARGET:-x86_64-pc-windows-gnu}
RUSTC=$(dpkg -L rustc-web 2>/dev/null | grep -m1 '/bin/rustc$') ||
    { echo "build: rustc-web is missing: tools/windows/build.sh --prepare" >&2; exit 1; }
cargo=$(dpkg -L cargo-web | grep -m1 '/bin/cargo$')
export RUSTC RUSTC_BOOTSTRAP=1 CARGO_TARGET_X86_64_PC_WINDOWS_GNU_LINKER=x86_64-w64-mingw32-gcc
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target/windows}
command=$1
shift
exec "$cargo" "$command" -Zbuild-std=std,panic_unwind,test --release --locked --target "$target" "$@"
