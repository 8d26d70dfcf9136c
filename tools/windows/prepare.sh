#!/usr/bin/env bash
# Prepares what it takes to run Windows programs of the project on Linux, and to compile HLSL by Microsoft's compilers.
#
#     tools/windows/prepare.sh
#
# For amd64 Debian and its kin, as root (it mounts and changes root). Some 1.5 GB go into .windows/, and nothing of it is installed:
#
#   debian/     a Debian 13 of its own, with Wine 10 and Mesa 25: the vkd3d of older ones lacks what wgpu needs of Direct3D 12
#   compilers/  FXC (d3dcompiler_47.dll) and DXC (dxcompiler.dll) as the npm package `webgpu` carries them, and hlsl.exe
#
# LANGEVIN_WINDOWS names another folder. What the system must have (mingw, debootstrap, npm) is installed with apt where it is missing.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$(realpath -m "${LANGEVIN_WINDOWS:-$here/../../.windows}")
debian=$folder/debian
compilers=$folder/compilers
# The package and the version whose libraries have been tried.
package=webgpu version=0.6.2

die() { printf 'prepare: %s\n' "$*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || die "only root may mount and change root"
[ "$(dpkg --print-architecture 2>/dev/null)" = amd64 ] || die "the packages are those of amd64 Debian"

# install COMMAND PACKAGE...: installs the packages unless the command is there.
install() {
    ! command -v "$1" >/dev/null || return 0
    shift
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null || die "apt gives no $*"
}

install x86_64-w64-mingw32-gcc gcc-mingw-w64-x86-64 binutils-mingw-w64-x86-64
install debootstrap debootstrap
install npm npm

mkdir -p "$folder"
if [ ! -e "$folder/debian.ready" ]; then
    # shellcheck disable=SC2016
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | sed -n 1p)
    [ -n "$mirror" ] || die "apt knows no Debian mirror (apt-get update, once, may mend it)"
    rm -rf "$debian"
    debootstrap --variant=minbase --include=ca-certificates trixie "$debian" "$mirror" >"$folder/debootstrap.log" ||
        die "debootstrap failed: $folder/debootstrap.log"
    # This system's way to reach its mirrors.
    cp /etc/apt/apt.conf.d/* "$debian/etc/apt/apt.conf.d/" 2>/dev/null || true
    cp /etc/resolv.conf /etc/hosts "$debian/etc/"
    install_wine='apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        wine wine64 libwine libvulkan1 mesa-vulkan-drivers xvfb xauth && apt-get clean'
    unshare --mount sh -c 'mount --bind /proc "$1/proc" && chroot "$1" sh -c "$2"' sh "$debian" "$install_wine" \
        >"$folder/wine.log" 2>&1 || die "Wine could not be installed: $folder/wine.log"
    touch "$folder/debian.ready"
fi

mkdir -p "$compilers/fxc" "$compilers/dxc"
if [ ! -e "$compilers/dxc/dxcompiler.dll" ]; then
    scratch=$(mktemp -d -p "$folder")
    (cd "$scratch" && npm pack --silent "$package@$version" >/dev/null && tar xzf ./*.tgz package/dist/win32-x64) ||
        die "npm gives no $package $version"
    # Apart from each other: wgpu takes DXC wherever its library lies beside a program.
    mv "$scratch/package/dist/win32-x64/d3dcompiler_47.dll" "$compilers/fxc/"
    mv "$scratch/package/dist/win32-x64/dxcompiler.dll" "$compilers/dxc/"
    rm -rf "$scratch"
fi
x86_64-w64-mingw32-gcc -O1 -Wall -o "$compilers/fxc/hlsl.exe" "$here/hlsl.c"
cp "$compilers/fxc/hlsl.exe" "$compilers/dxc/"

# Wine has a compiler under FXC's name, which it finds first unless Microsoft's stands in its place.
system=$debian/prefix/drive_c/windows/system32
if ! cmp -s "$compilers/fxc/d3dcompiler_47.dll" "$system/d3dcompiler_47.dll"; then
    "$here/run.sh" none "$compilers/fxc/hlsl.exe" >/dev/null 2>&1 || true
    [ -d "$system" ] || die "Wine made no Windows folder in $debian/prefix"
    cp "$compilers/fxc/d3dcompiler_47.dll" "$system/"
fi
printf 'prepared %s\n' "$folder"
