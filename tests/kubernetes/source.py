"""The source of Kubernetes, made ready to compile: Debian's own source package, and what it lacks.

Debian's apt fetches it and proves that it is Debian's. A machine that asks for programs only is asked for source from
the same places, in lists of our own: nothing of the machine's apt is changed.
"""

import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

KUBERNETES = "k8s.io/kubernetes"
"""Its name in Go."""
_SOURCE, _REFLECT = "kubernetes", "golang-github-modern-go-reflect2-dev"
_OPENAPI = Path("pkg/generated/openapi/zz_generated.openapi.go")
_MARK = "+k8s:openapi-gen="
_LISTS = (Path("/etc/apt/sources.list"), Path("/etc/apt/sources.list.d"))


class SourceMissing(Exception):
    """The source cannot be had or made ready; the text says why."""


def prepare(work: Path, environment: dict[str, str], say: Callable[[str], None]) -> Path:
    """The folder of the source, in a Go path below `work`; what is there already is not done again."""
    place = work / "go" / "src" / KUBERNETES
    if not place.exists():
        unpacked = _unpack(work, say)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(unpacked)
    if not (place / _OPENAPI).exists():
        say("generating the description of the API, which the source package does not hold")
        _generate_openapi(work, place, environment)
    return place


def _unpack(work: Path, say: Callable[[str], None]) -> Path:
    say("fetching the source package (20 MB) from Debian")
    apt = _apt(work)
    _run([*apt, "update", "-qq"], work)
    _run([*apt, "source", "--download-only", "-qq", _SOURCE], work)
    _run(["apt-get", "download", "-qq", _REFLECT], work)
    say("unpacking it")
    new = work / "unpacking"
    shutil.rmtree(new, ignore_errors=True)
    (archive,) = work.glob(f"{_SOURCE}_*.orig.tar.*")
    with tarfile.open(archive) as tar:
        tar.extractall(new, filter="tar")
    (folder,) = new.iterdir()
    # The one that the source brings does not work with a Go of today.
    (package,) = work.glob(f"{_REFLECT}_*.deb")
    _run(["dpkg-deb", "-x", str(package), str(new / "reflect2")], work)
    vendored = folder / "vendor/github.com/modern-go/reflect2"
    for old in vendored.glob("*.go"):
        old.unlink()
    for file in (new / "reflect2/usr/share/gocode/src/github.com/modern-go/reflect2").glob("*.go"):
        if not file.name.endswith("_test.go"):
            shutil.copy(file, vendored)
    ready = work / "kubernetes"
    shutil.rmtree(ready, ignore_errors=True)
    folder.rename(ready)
    shutil.rmtree(new)
    return ready


def _apt(work: Path) -> list[str]:
    """apt-get with lists of source packages, kept in our own folders."""
    lists = work / "sources.list"
    lines = sorted({line for file in _files() for line in source_lines(file.read_text(errors="replace"))})
    if not lines:
        raise SourceMissing("this machine's apt knows no packages of Debian; build on a Debian machine")
    lists.write_text("\n".join(lines) + "\n")
    for name in ("lists/partial", "cache/archives/partial"):
        (work / name).mkdir(parents=True, exist_ok=True)
    settings = {
        "Dir::Etc::sourcelist": lists,
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::lists": work / "lists",
        "Dir::Cache": work / "cache",
        "APT::Sandbox::User": "root",
    }
    return ["apt-get", *(word for key, value in settings.items() for word in ("-o", f"{key}={value}"))]


def _files() -> Iterator[Path]:
    for place in _LISTS:
        if place.is_file():
            yield place
        elif place.is_dir():
            yield from sorted([*place.glob("*.list"), *place.glob("*.sources")])


def source_lines(text: str) -> Iterator[str]:
    """The deb-src lines that belong to Debian's own archive in a list of apt's, of either form (sources.list(5)).

    >>> list(source_lines("deb [arch=amd64] http://mirror.test/debian stable main"))
    ['deb-src http://mirror.test/debian stable main']
    >>> list(source_lines("Types: deb\\nURIs: http://mirror.test/debian\\nSuites: a b\\nComponents: main"))
    ['deb-src http://mirror.test/debian a main', 'deb-src http://mirror.test/debian b main']
    """
    for line in text.splitlines():
        if match := re.match(r"deb\s+(?:\[[^]]*\]\s+)?(\S*debian\S*)\s+(.+)", line):
            yield f"deb-src {match[1]} {match[2]}"
    for paragraph in re.split(r"\n\s*\n", text):
        fields = dict(re.findall(r"^([A-Za-z-]+):\s*(.+)$", paragraph, re.MULTILINE))
        if "deb" not in fields.get("Types", "").split():
            continue
        for uri in fields.get("URIs", "").split():
            for suite in fields.get("Suites", "").split() if "debian" in uri else ():
                yield f"deb-src {uri} {suite} {fields.get('Components', 'main')}"


def _generate_openapi(work: Path, place: Path, environment: dict[str, str]) -> None:
    generator = work / "openapi-gen"
    _run(["go", "build", "-o", str(generator), f"./{_VENDORED_GENERATOR}"], place, environment)
    arguments = [
        *("--logtostderr", "-i", ",".join(_described(place)), "-p", f"{KUBERNETES}/{_OPENAPI.parent}"),
        *("-O", _OPENAPI.stem, "-h", "hack/boilerplate/boilerplate.generatego.txt", "-r", str(work / "report")),
    ]
    root = _run(["go", "env", "GOROOT"], place, environment).strip()
    _run([str(generator), *arguments], place, {**environment, "GOROOT": root})


_VENDORED_GENERATOR = "vendor/k8s.io/kube-openapi/cmd/openapi-gen"


def _described(place: Path) -> list[str]:
    """The packages whose types are part of the API: their files say so."""
    found = set()
    for top in ("pkg", "staging/src/k8s.io"):
        for folder, _, names in os.walk(place / top):
            if any(_is_described(Path(folder) / name) for name in names):
                inside = Path(folder).relative_to(place).as_posix()
                found.add(f"{KUBERNETES}/{inside.replace('staging/src/', 'vendor/', 1)}")
    return sorted(found)


def _is_described(file: Path) -> bool:
    if file.suffix != ".go" or file.name.endswith("_test.go") or "kube-openapi" in file.parts:
        return False
    return _MARK in file.read_text(errors="replace")


def _run(command: list[str], folder: Path, environment: dict[str, str] | None = None) -> str:
    # Go believes PWD where the folder is a link: only by that way is it in the Go path.
    everything = {**os.environ, **(environment or {}), "PWD": str(folder)}
    done = subprocess.run(command, cwd=folder, env=everything, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SourceMissing(f"{' '.join(command)[:200]} → {done.returncode}\n{done.stderr[-2000:]}")
    return done.stdout
