"""What the image holds and what it is called: every choice in one place, each with its reason. No code that builds."""

from typing import Final

from weavemesh import __version__

REPOSITORY: Final = "ghcr.io/weavemesh/weavemesh"
NAME: Final = f"{REPOSITORY}:{__version__}"
"""The image's name, the same in every manifest: a test of the manifests compares."""

PYTHON: Final = "python3.11"
"""Debian 12's: bytecode and wheels are for it."""

MACHINES: Final = {"amd64": "x86_64", "arm64": "aarch64"}
"""Architectures as Debian, the image specification and Kubernetes name them; the same as the kernel and wheels do."""

INTERPRETERS: Final = {"amd64": "usr/lib64/ld-linux-x86-64.so.2", "arm64": "usr/lib/ld-linux-aarch64.so.1"}
"""The C library's loader, which starts a program of an unpacked tree with that tree's own libraries."""

PACKAGES: Final = ("python3.11-minimal", "libpython3.11-stdlib", "nftables", "wireguard-go")
"""What is asked of Debian; the rest are their dependencies."""

PACKAGES_LEFT_OUT: Final = {
    "dpkg": "maintainer scripts; so are the next six",
    "debconf": "",
    "tar": "",
    "libacl1": "",
    "libselinux1": "",
    "libpcre2-8-0": "",
    "libzstd1": "",
    "gcc-12-base": "holds documentation only",
    "media-types": "mime.types, for web servers",
    "readline-common": "settings of a line editor",
    "libreadline8": "the module readline: nobody types into this Python",
    "libncursesw6": "the module curses",
    "libsqlite3-0": "the module sqlite3",
    "libdb5.3": "the module dbm.ndbm",
    "libcrypt1": "the module crypt",
    "libnsl2": "the module nis; so are the next seven",
    "libtirpc3": "",
    "libtirpc-common": "",
    "libgssapi-krb5-2": "",
    "libkrb5-3": "",
    "libk5crypto3": "",
    "libkrb5support0": "",
    "libkeyutils1": "",
    "libcom-err2": "the module nis, too",
    "libuuid1": "the module _uuid, which uuid does without",
}
"""Dependencies of those that nothing inside needs, with what would. A test finds a library that is missed."""

WHEELS_LEFT_OUT: Final = {
    "aiohttp": "kubernetes.aio alone imports it, which is left out; so with the others",
    "aiohttp-retry": "",
    "aiohappyeyeballs": "",
    "aiosignal": "",
    "attrs": "",
    "frozenlist": "",
    "multidict": "",
    "propcache": "",
    "yarl": "",
    "pycparser": "cffi reads declarations in C with it, which cryptography never asks for",
    "tzdata": "time zones: everything here is UTC",
}
"""Python packages that dependencies name and nothing imports. A test imports all that is used, and calls an API."""

LEFT_OUT: Final = (
    "usr/share/doc/*",
    "usr/share/man/*",
    "usr/share/info/*",
    "usr/share/locale/*",
    "usr/share/lintian/*",
    "usr/share/bug/*",
    "usr/share/nftables/*",
    "usr/share/binfmts/*",
    "usr/share/applications/*",
    "usr/share/pixmaps/*",
    "usr/share/python3/*",
    "usr/share/doc-base/*",
    "usr/share/gcc/*",
    "usr/share/gdb/*",
    "usr/share/libc-bin/*",
    "usr/lib/systemd/*",
    "etc/ld.so.conf.d/*",
    # Conversions between character sets: everything here speaks UTF-8.
    "usr/lib/*-linux-gnu/gconv/*",
    "usr/lib/*-linux-gnu/audit/*",
    "usr/lib/*-linux-gnu/perl*",
    "usr/lib/*-linux-gnu/libmvec.*",
    "usr/lib/*-linux-gnu/libnsl.*",
    "usr/lib/python3.11/lib-dynload/_codecs_*",
    # Modules of Python whose libraries are left out above, or that serve those who write programs.
    *(
        f"usr/lib/python3.11/lib-dynload/{module}.*"
        for module in (
            "readline",
            "_curses",
            "_curses_panel",
            "_sqlite3",
            "_dbm",
            "_crypt",
            "nis",
            "_uuid",
            "_test*",
            "_xx*",
            "xx*",
        )
    ),
    *(
        f"usr/lib/python3.11/{folder}/*"
        for folder in (
            "curses",
            "sqlite3",
            "dbm",
            "unittest",
            "pydoc_data",
            "ensurepip",
            "test",
            "turtledemo",
            "ctypes/test",
        )
    ),
)
"""Files of Debian packages, as shell patterns of their paths (with /lib inside /usr)."""

KEPT: Final = ("usr/share/doc/*/copyright",)
"""What is kept although LEFT_OUT names its folder: the licences ask for it."""

SITE_LEFT_OUT: Final = (
    # Only `kubernetes` in its synchronous form is used, and of that the client that sends and takes raw JSON; it
    # imports the modules of single APIs and types when somebody asks for one of them.
    "kubernetes/aio/*",
    "kubernetes/client/api/[!_]*.py",
    "kubernetes/client/models/[!_]*.py",
    "pydantic/v1/*",
    "*/tests/*",
    "*/testing/*",
    "*.pyi",
    "*.c",
    "*.h",
    "*.pyx",
    "*.pxd",
    # Of whom pip wonders, and pip is not inside: the list of files would be wrong, too.
    "*.dist-info/RECORD",
    "*.dist-info/INSTALLER",
    "*.dist-info/REQUESTED",
    "*.dist-info/direct_url.json",
)
"""Files of wheels, as shell patterns of their paths."""

LABELS: Final = {
    "org.opencontainers.image.title": "weavemesh",
    "org.opencontainers.image.description": "Encrypted mesh overlay network for hosts and Kubernetes",
    "org.opencontainers.image.version": __version__,
    "org.opencontainers.image.licenses": "Apache-2.0",
}

ENVIRONMENT: Final = (
    "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG=C.UTF-8",
    # The root file system is read-only, and what is used has its bytecode already.
    "PYTHONDONTWRITEBYTECODE=1",
)

LINKS: Final = {
    "bin": "usr/bin",
    "sbin": "usr/sbin",
    "lib": "usr/lib",
    "usr/bin/python3": PYTHON,
    "var/run": "/run",
    "etc/mtab": "/proc/self/mounts",
}
"""Symbolic links that Debian's maintainer scripts, or packages that are left out, would have made."""

FOLDERS: Final = (
    *("dev", "proc", "sys", "run", "root", "tmp", "usr/sbin", "host/proc/sys/net", "run/weavemesh"),
    # Where the manifests mount something of the host, or a person with a container engine does.
    *("etc/weavemesh", "etc/cni/net.d", "opt/cni/bin", "var/lib/weavemesh"),
)

FILES: Final = {
    "etc/passwd": "root:x:0:0:root:/root:/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/nologin\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}

PROGRAM: Final = "usr/bin/weavemesh"
PROGRAM_TEXT: Final = """\
#!/usr/bin/python3 -I
import sys

from weavemesh.cli.main import main

sys.exit(main())
"""
"""Isolated: neither the working folder nor variables of the container decide what is imported."""

UNPACKED_BYTES_MAX: Final = 90 * 1000 * 1000
"""A test holds the image to it."""
