#!/usr/bin/env bash
# Makes a virtual environment of Python with the packages of a requirements file:
#   venv.sh FOLDER REQUIREMENTS [OPTION of pip install]…
# It is made once and again whenever the file has changed. Nothing is installed outside FOLDER,
# except Debian's python3-venv when the script runs as root.
set -euo pipefail
folder=$1
requirements=$2
shift 2

if cmp -s "$requirements" "$folder/requirements.txt"; then exit 0; fi
"$(dirname "${BASH_SOURCE[0]}")/install-packages.sh" 'packages of Python' python3:python3 python3/ensurepip:python3-venv
rm -rf "$folder"
mkdir -p "$(dirname "$folder")"
python3 -m venv "$folder" >/dev/null
"$folder/bin/pip" install --quiet --disable-pip-version-check "$@" --requirement "$requirements"
cp "$requirements" "$folder/requirements.txt"
