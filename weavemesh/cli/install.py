"""`weavemesh install-cni`: puts the CNI executable and its configuration where a container runtime looks."""

import argparse
import shutil
from pathlib import Path

import weavemesh
from weavemesh.cli.output import print_sentences
from weavemesh.error import UserError

PACKAGE = Path(weavemesh.__file__).parent
EXECUTABLES = (PACKAGE / "share" / "cni" / "weavemesh", PACKAGE.parent / "build" / "cni" / "weavemesh")
"""In an installed wheel; in a source folder after `make setup`."""
CONFIGURATIONS = (
    PACKAGE / "share" / "10-weavemesh.conflist",
    PACKAGE.parent / "deploy" / "cni" / "10-weavemesh.conflist",
)


def install_cni(arguments: argparse.Namespace) -> int:
    """Copy both; again replaces the executable and leaves a configuration that is there."""
    executable, configuration = _first(EXECUTABLES), _first(CONFIGURATIONS)
    target = Path(arguments.bin_dir) / "weavemesh"
    config = Path(arguments.conf_dir) / configuration.name
    try:
        for folder in (target.parent, config.parent):
            folder.mkdir(parents=True, exist_ok=True)
        # By rename: an executable that runs cannot be written to.
        new = target.with_name(".weavemesh.new")
        shutil.copyfile(executable, new)
        new.chmod(0o755)
        new.replace(target)
        kept = config.exists()
        if not kept:
            shutil.copyfile(configuration, config)
    except OSError as error:
        raise UserError(f"{error.filename} cannot be written ({error.strerror})", remedy="run it as root") from error
    print_sentences([f"installed {target}", f"{'kept' if kept else 'wrote'} {config}"], as_json=arguments.json)
    return 0


def _first(candidates: tuple[Path, ...]) -> Path:
    for path in candidates:
        if path.is_file():
            return path
    raise UserError(
        "this installation holds no CNI executable",
        remedy="build it from the source folder with `deploy/cni/build.sh /opt/cni/bin` (it needs a C compiler)",
    )
