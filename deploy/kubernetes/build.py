#!/usr/bin/env python3
"""Writes what is made from base/, the one source of the manifests: weavemesh.yaml and the templates of the Helm chart.

Needs nothing but Python. That a rendered chart and the plain manifest are equal is tested with Helm's own code.
"""

import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
PARTS = {"namespace": "agent", "rbac": "agent", "agent": "agent", "wireguard": "wireguard"}
"""File and folder, in the order in which they are applied."""
HEAD = """\
# weavemesh on Kubernetes 1.20 and newer. Made from base/ by build.py: change it there.
# It needs the cluster secret, which one command makes (docs/kubernetes.md):
#   head -c 32 /dev/urandom | base64 |
#     kubectl -n weavemesh create secret generic weavemesh --from-file=secret=/dev/stdin
"""
TEMPLATE_HEAD = "{{- /* Made from base/ by build.py: change it there. */ -}}\n"
OPTIONS = """\
            {{- range $name, $value := .Values.options }}
            - name: WEAVEMESH_{{ $name | upper | replace "-" "_" }}
              value: {{ $value | toString | quote }}
            {{- end }}
"""
CONDITIONS = {"namespace": "createNamespace", "wireguard": "wireguard.enabled"}


def plain() -> str:
    """All objects in one text."""
    return HEAD + "---\n".join(["", *map(base, PARTS)])


def template(part: str) -> str:
    """A part of the chart: the same text with values in it."""
    text = base(part)
    text = re.sub(r"(?<=namespace: )weavemesh$", "{{ .Values.namespace | quote }}", text, flags=re.MULTILINE)
    text = re.sub(r"(?<=image: ).+$", "{{ .Values.image | quote }}", text, flags=re.MULTILINE)
    if part == "namespace":
        text = text.replace("  name: weavemesh\n", "  name: {{ .Values.namespace | quote }}\n", 1)
    if part == "agent":
        text = text.replace("value: 0.0.0.0:6782", "value: {{ .Values.metricsAddr | quote }}")
        text = re.sub(r"^( +# Options of `weavemesh up`.*\n)", rf"\1{OPTIONS}", text, flags=re.MULTILINE)
    if part in ("agent", "wireguard"):
        written = rf"          resources:\n            {{{{- toYaml .Values.{part}.resources | nindent 12 }}}}\n"
        text = re.sub(r" +resources:\n +requests:\n +cpu: .+\n +memory: .+\n", written, text)
    if part in CONDITIONS:
        text = f"{{{{- if .Values.{CONDITIONS[part]} }}}}\n{text}{{{{- end }}}}\n"
    return TEMPLATE_HEAD + text


def base(part: str) -> str:
    """The source of a part."""
    return (HERE / "base" / PARTS[part] / f"{part}.yaml").read_text(encoding="utf-8")


def made() -> dict[Path, str]:
    """All files, and what is to be in them."""
    templates = {HERE / "chart" / "weavemesh" / "templates" / f"{part}.yaml": template(part) for part in PARTS}
    return {HERE / "weavemesh.yaml": plain(), **templates}


if __name__ == "__main__":
    for path, content in made().items():
        path.write_text(content, encoding="utf-8")
