#!/bin/sh
# Installs weavemesh on a host as a user would: install.sh PROJECT [WHEELS]
#   PROJECT   folder of the project: the unit for systemd is taken from it
#   WHEELS    folder with the wheels of weavemesh and all it needs; nothing is then fetched from elsewhere
set -eu
# The system's own Python: a service does not see one in somebody's home folder.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
project=$1 wheels=${2:-}
missing=""
for pair in python3:python3 pip3:python3-pip wg:wireguard-tools; do
    command -v "${pair%%:*}" >/dev/null || missing="$missing ${pair#*:}"
done
/usr/bin/python3 -c 'import venv' 2>/dev/null || missing="$missing python3-venv"
if [ -n "$missing" ]; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi
/usr/bin/python3 -m venv --without-pip /opt/weavemesh
pip="/usr/bin/pip3 --python /opt/weavemesh/bin/python install -q --no-compile --disable-pip-version-check --root-user-action=ignore"
if [ -n "$wheels" ]; then
    $pip --no-index --find-links "$wheels" weavemesh
else
    $pip "$project"
fi
/usr/bin/python3 -m compileall -q /opt/weavemesh/lib # in half the time that pip takes for it
ln -sf /opt/weavemesh/bin/weavemesh /usr/local/bin/weavemesh
weavemesh cni install
install -m 644 "$project/deploy/systemd/weavemesh.service" /etc/systemd/system/
systemctl daemon-reload
weavemesh version
