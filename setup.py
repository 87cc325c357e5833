"""Puts into the wheel what is not Python: the CNI executable, its configuration, the unit for systemd, the manual page.

All other configuration is in pyproject.toml. A wheel with the executable is for one kind of machine; on a machine where
no static executable can be built, the wheel is made without it, and says so.
"""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

PROJECT = Path(__file__).resolve().parent
MANUAL = Path("build") / "man" / "weavemesh.8"
SHARED = (
    "deploy/cni/10-weavemesh.conflist",
    "deploy/systemd/weavemesh.service",
    "deploy/kubernetes/weavemesh.yaml",
)


class BuildWithExecutable(build_py):
    """Adds `weavemesh/share/` to what is built."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        share = Path(self.build_lib) / "weavemesh" / "share"
        share.mkdir(parents=True, exist_ok=True)
        for name in SHARED:
            shutil.copy(PROJECT / name, share)
        if subprocess.run([PROJECT / "deploy/cni/build.sh", share / "cni"], check=False).returncode != 0:
            print("weavemesh: this wheel has no CNI executable: there is no static C library", file=sys.stderr)


class WheelForThisMachine(bdist_wheel):
    """Any Python 3, but this machine's processor: the executable is not Python."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.root_is_pure = False

    def get_tag(self) -> Any:
        return "py3", "none", super().get_tag()[2]


def write_manual() -> None:
    """By the command line's parser, which needs no other package."""
    sys.path.insert(0, str(PROJECT))
    from weavemesh.cli.manual import page
    from weavemesh.cli.parser import parser

    (PROJECT / MANUAL).parent.mkdir(parents=True, exist_ok=True)
    (PROJECT / MANUAL).write_text(page(parser()))


write_manual()
setup(
    cmdclass={"build_py": BuildWithExecutable, "bdist_wheel": WheelForThisMachine},
    data_files=[("share/man/man8", [str(MANUAL)])],
)
