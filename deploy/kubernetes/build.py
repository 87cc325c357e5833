#!/usr/bin/env python3
"""Writes weavemesh.yaml anew from base/, which is the one source of the manifests. Needs nothing but Python."""

from pathlib import Path

HERE = Path(__file__).resolve().parent
PARTS = ("namespace", "rbac", "agent", "wireguard")
HEAD = """\
# weavemesh on Kubernetes 1.20 and newer. Made from base/ by build.py: change it there.
# It needs the cluster secret, which one command makes (docs/kubernetes.md):
#   kubectl -n weavemesh create secret generic weavemesh --from-file=secret=/dev/stdin
"""


def plain() -> str:
    """All objects in one text."""
    return HEAD + "---\n".join(["", *((HERE / "base" / f"{part}.yaml").read_text() for part in PARTS)])


if __name__ == "__main__":
    (HERE / "weavemesh.yaml").write_text(plain())
