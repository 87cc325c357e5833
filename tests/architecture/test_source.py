"""Habits of the source that a reader relies on, held by tests rather than by review."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
PACKAGES = ("gossip", "ipam_crdt", "weavemesh")
MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60

MODULES = sorted(path for package in PACKAGES for path in (PROJECT / package).rglob("*.py"))
NAMES = [str(path.relative_to(PROJECT)) for path in MODULES]

TESTED_ELSEWHERE = {
    "weavemesh/daemon.py": "tests/e2e: it only puts parts together",
    "weavemesh/__main__.py": "tests/e2e: runs the command line",
    "weavemesh/kernel/device.py": "tests/kernel/test_userspace.py, test_wireguard.py: a protocol and its error",
    "weavemesh/cni/door.py": "tests/unit/…/cni/fake_doors.py, tests/kernel/cni_agent.py: two protocols",
    "weavemesh/arrival.py": "tests/e2e: what the start waits for",
    "weavemesh/pathing.py": "tests/e2e/test_nat.py: real sockets, NATs and devices",
    "weavemesh/overlay/pathevent.py": "tests/unit/…/test_path.py: the words of that machine",
    "weavemesh/overlay/pathtime.py": "tests/unit/…/test_path.py: the times of that machine",
    "weavemesh/overlay/tunnel.py": "tests/kernel/test_applier.py, tests/unit/…/test_fake.py: a protocol and its report",
}
"""Modules without a test file of their own, and what tests them."""


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("name", NAMES)
def test_a_module_can_be_read_in_one_sitting(name: str) -> None:
    source = (PROJECT / name).read_text()
    assert len(source.splitlines()) <= MODULE_LINES_MAX
    long = [
        node.name for node in functions(ast.parse(source)) if (node.end_lineno or 0) - node.lineno >= FUNCTION_LINES_MAX
    ]
    assert not long, f"functions over {FUNCTION_LINES_MAX} lines: {long}"


@pytest.mark.parametrize("name", NAMES)
def test_a_module_says_what_it_is(name: str) -> None:
    assert ast.get_docstring(ast.parse((PROJECT / name).read_text()))


@pytest.mark.parametrize("name", NAMES)
def test_private_names_stay_private(name: str) -> None:
    imports = [node for node in ast.walk(ast.parse((PROJECT / name).read_text())) if isinstance(node, ast.ImportFrom)]
    private = [
        alias.name
        for node in imports
        for alias in node.names
        if alias.name.startswith("_") and alias.name != "__version__"
    ]
    private += [
        node.module for node in imports if node.module and any(part.startswith("_") for part in node.module.split("."))
    ]
    assert not [name for name in private if not name.startswith("__")]


@pytest.mark.parametrize("name", [name for name in NAMES if not name.endswith("__init__.py")])
def test_a_module_has_its_tests(name: str) -> None:
    if name in TESTED_ELSEWHERE:
        return
    module = Path(name)
    test = f"test_{module.stem}.py"
    homes = [
        PROJECT / "tests" / "unit" / module.parent / test,
        PROJECT / "tests" / "kernel" / test,
        PROJECT / "tests" / "e2e" / test,
    ]
    assert any(home.exists() for home in homes), f"none of {[str(home.relative_to(PROJECT)) for home in homes]}"


def test_the_project_speaks_of_itself_alone() -> None:
    """No address of a package registry and no path of a developer's machine in what the project ships."""
    ends = (".py", ".md", ".toml", ".txt", ".sh", ".c", ".yaml", ".conflist", "Makefile", "Dockerfile")
    forbidden = ("://pypi", "files.pythonhosted" + ".org", "://registry" + ".", "deb.debian" + ".org", "/home" + "/")
    skipped = (".git", ".venv", "build")
    for path in PROJECT.rglob("*"):
        inside = path.relative_to(PROJECT)
        if inside.parts[0] in skipped or not path.is_file() or not path.name.endswith(ends) or path == Path(__file__):
            continue
        found = [text for text in forbidden if text in path.read_text(errors="replace")]
        assert not found, f"{inside}: {found}"
