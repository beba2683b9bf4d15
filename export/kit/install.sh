#!/bin/sh
# Install fsr-edge from this folder into a virtual environment of its own, without a network.
#
#   sh install.sh [--system-site-packages] [--python PYTHON] [FOLDER]
#
# FOLDER is made, by default fsr-venv beside this script. --system-site-packages lets the program see packages of the
# system, such as the TensorRT of a Jetson. --python names the Python to run with, by default python3.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
want_machine=@MACHINE@
want_python=@PYTHON@
python=python3
system=
venv=

fail() {
    echo "error: $1" >&2
    exit 2
}

while [ $# -gt 0 ]; do
    case $1 in
        --system-site-packages) system=--system-site-packages ;;
        --python)
            [ $# -gt 1 ] || fail "--python: expected the name of a Python"
            python=$2
            shift
            ;;
        -h | --help)
            sed -n 's/^# \{0,1\}//; 2,7p' "$0"
            exit 0
            ;;
        -*) fail "got $1, expected --system-site-packages, --python PYTHON or a folder" ;;
        *)
            [ -z "$venv" ] || fail "got two folders, $venv and $1"
            venv=$1
            ;;
    esac
    shift
done
venv=${venv:-$here/fsr-venv}

command -v "$python" >/dev/null || fail "there is no $python; this kit needs Python $want_python: name it with --python"
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
[ "$version" = "$want_python" ] ||
    fail "got Python $version, this kit is for $want_python; name one with --python, or make a kit with --python $version"
machine=$(uname -m)
[ "$machine" = "$want_machine" ] || fail "got a $machine, this kit is for $want_machine; make one with --platform linux_$machine"
[ ! -e "$venv" ] || fail "$venv exists already; name another folder or remove it"
(cd "$here" && sha256sum -c SHA256SUMS >/dev/null) || fail "the kit is damaged; copy and unpack it again"

# Nothing half-installed is left. pip comes in the kit: a Debian or Jetson without python3-venv can make an environment,
# but not put pip into it.
trap 'rm -rf "$venv"' EXIT
trap 'exit 130' INT TERM
"$python" -m venv --without-pip $system "$venv"
set -- "$here"/wheels/pip-*.whl
env -u PIP_FIND_LINKS -u PIP_INDEX_URL PIP_CONFIG_FILE=/dev/null "$venv/bin/python" "$1/pip" \
    --isolated install --quiet --disable-pip-version-check --no-warn-script-location --no-index --no-deps \
    --ignore-installed --require-hashes --find-links "$here/wheels" --requirement "$here/requirements.txt"
[ ! -d "$here/bundle" ] || cp -R "$here/bundle" "$venv/bundle"
trap - EXIT

"$venv/bin/fsr-run" --doctor || fail "installed in $venv, but fsr-run --doctor fails there"
echo
echo "installed; to restore the faces of a folder of pictures:"
if [ -d "$venv/bundle" ]; then
    echo "  $venv/bin/fsr-run --input PICTURES --bundle $venv/bundle"
else
    echo "  $venv/bin/fsr-run --input PICTURES"
fi
