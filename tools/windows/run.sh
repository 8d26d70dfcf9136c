#!/usr/bin/env bash
# Runs a Windows program under Wine in the present folder, once tools/windows/prepare.sh has run.
#
#     tools/windows/run.sh vulkan|dx12|none PROGRAM.exe ARGUMENTS...
#
# vulkan: Mesa's software driver through winevulkan. dx12: Wine's vkd3d over that driver, shaders by Microsoft's FXC. none: whatever
# the program takes. Inside, this machine's files are under Z:\host, the environment is that of the caller, and its temporary folder and
# user profile are Wine's own. LANGEVIN_WINDOWS names the prepared folder.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$(realpath -m "${LANGEVIN_WINDOWS:-$here/../../.windows}")
[ -e "$folder/debian.ready" ] || { printf 'run: tools/windows/prepare.sh has not run\n' >&2; exit 1; }
backend=$1
program=$(realpath "$2")
shift 2
[ "$backend" = none ] || export WGPU_BACKEND=$backend
export HOME=/root WINEPREFIX=/prefix WINEDEBUG=${WINEDEBUG:--all} VKD3D_DEBUG=${VKD3D_DEBUG:-none} XDG_RUNTIME_DIR=/tmp
# Microsoft's FXC, which prepare.sh has put in the place of Wine's own.
export WINEDLLOVERRIDES="d3dcompiler_47=n"
unset TMPDIR VK_DRIVER_FILES VK_ICD_FILENAMES LD_LIBRARY_PATH
# Vulkan needs a display, if only one that nobody sees.
[ "$backend" = none ] || export LANGEVIN_DISPLAY="xvfb-run -a"
export LANGEVIN_ROOT=$folder/debian LANGEVIN_HERE=$PWD
# The mounts are seen by this process and what it starts, and end with it. Every run has the same, since runs share Wine's server.
exec unshare --mount bash -c '
    set -e
    mkdir -p "$LANGEVIN_ROOT/host"
    mount --bind /proc "$LANGEVIN_ROOT/proc"
    mount --rbind /dev "$LANGEVIN_ROOT/dev"
    mount --rbind / "$LANGEVIN_ROOT/host"
    exec chroot "$LANGEVIN_ROOT" bash -c "cd \"/host\$LANGEVIN_HERE\" && exec \$LANGEVIN_DISPLAY wine \"\$@\"" run "$@"' \
    run "/host$program" "$@" 2> >(grep -v 'wine32\|multiarch\|^execute\|apt-get install\|X connection to' >&2)
