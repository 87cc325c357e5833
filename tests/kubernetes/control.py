"""The control plane: etcd, API server, controller manager and scheduler, on one machine."""

import subprocess
from pathlib import Path

from deploy.demo.lab import LabError, Machine, wait_until
from tests.kubernetes.folder import binaries_folder
from tests.kubernetes.pki import Authority
from tests.kubernetes.service import Services

POD_RANGE = "10.32.0.0/12"
"""What kube-proxy and the controller manager take for pods: the project's default."""
SERVICE_RANGE = "10.96.0.0/16"
API_S = 60.0
_LOCAL = "http://127.0.0.1:2379"
_SYSTEM = "system:masters"


class ControlPlane:
    """Runs the parts; kubectl runs beside them, since no other machine need reach the API server."""

    def __init__(self, machine: Machine, address: str, folder: Path) -> None:
        self.machine = machine
        self.address = address
        self.authority = Authority(folder / "pki", address)
        self._services = Services(machine, folder / "log" / "control")
        self._admin = folder / "pki" / "admin.kubeconfig"
        self._configure("admin", groups=[_SYSTEM])
        self._configure("kube-controller-manager", user="system:kube-controller-manager")
        self._configure("kube-scheduler", user="system:kube-scheduler")

    def start(self) -> None:
        """Start the store and the API server; `wait` waits for it."""
        peers = "http://127.0.0.1:2380"
        self._services.start(
            *("etcd", "etcd", "--data-dir", "/run/etcd", "--unsafe-no-fsync", "--log-level", "warn", "--logger", "zap"),
            *("--listen-client-urls", _LOCAL, "--advertise-client-urls", _LOCAL),
            *("--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers),
            *("--initial-cluster", f"default={peers}"),
        )
        self._services.start("kube-apiserver", *self._api_server())

    def wait(self) -> None:
        """Return when the API server is ready, with all parts running."""
        self.wait_for_api()
        for name, flags in (
            ("kube-controller-manager", self._controller_manager()),
            ("kube-scheduler", ["--leader-elect=false", "--bind-address=127.0.0.1"]),
        ):
            configuration = str(self.authority.folder / f"{name}.kubeconfig")
            roles = [f"--{kind}={configuration}" for kind in _CONFIGURATIONS]
            self._services.start(name, self._program(name), *roles, *flags)

    def wait_for_api(self) -> None:
        wait_until(self._is_ready, seconds=API_S, what="the API server")

    def stop_api(self) -> None:
        """Take the API server down; everything else goes on."""
        self._services.stop("kube-apiserver")

    def start_api(self) -> None:
        """Undo `stop_api`; returns when it is ready."""
        self._services.start_again("kube-apiserver")
        self.wait_for_api()

    def stop(self) -> None:
        self._services.stop_all()

    def kubectl(
        self, *arguments: str, stdin: str = "", check: bool = True, timeout_s: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl as the administrator."""
        return self.machine.run(*self.kubectl_command(*arguments), stdin=stdin, check=check, timeout_s=timeout_s)

    def kubectl_command(self, *arguments: str) -> list[str]:
        """What runs kubectl on this machine."""
        return [self._program("kubectl"), f"--kubeconfig={self._admin}", *arguments]

    def _is_ready(self) -> bool:
        self._services.check()
        return self.kubectl("get", "--raw", "/readyz", check=False).stdout.startswith("ok")

    def _configure(self, name: str, *, user: str = "", groups: list[str] | None = None) -> None:
        path = self.authority.folder / f"{name}.kubeconfig"
        path.write_text(self.authority.kubeconfig(user or name, groups=groups or []))

    @staticmethod
    def _program(name: str) -> str:
        path = binaries_folder() / name
        if not path.exists():
            raise LabError(f"{name} is not built: run `python -m tests.kubernetes build`")
        return str(path)

    def _api_server(self) -> list[str]:
        pki = self.authority.folder
        return [
            self._program("kube-apiserver"),
            *(f"--etcd-servers={_LOCAL}", f"--bind-address={self.address}", f"--advertise-address={self.address}"),
            *("--secure-port=6443", f"--service-cluster-ip-range={SERVICE_RANGE}", "--profiling=false"),
            *(f"--client-ca-file={pki}/ca.crt", f"--tls-cert-file={pki}/apiserver.crt"),
            f"--tls-private-key-file={pki}/apiserver.key",
            # Nodes by name: this machine's /etc/hosts says where their kubelets are reached.
            "--kubelet-preferred-address-types=Hostname",
            *(f"--kubelet-certificate-authority={pki}/ca.crt", f"--kubelet-client-certificate={pki}/to-kubelet.crt"),
            f"--kubelet-client-key={pki}/to-kubelet.key",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={pki}/service-account.crt",
            f"--service-account-signing-key-file={pki}/service-account.key",
            *("--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction"),
            "--allow-privileged=true",
        ]

    def _controller_manager(self) -> list[str]:
        pki = self.authority.folder
        return [
            *("--leader-elect=false", "--bind-address=127.0.0.1", "--use-service-account-credentials=true"),
            *(f"--root-ca-file={pki}/ca.crt", f"--service-account-private-key-file={pki}/service-account.key"),
            *("--allocate-node-cidrs=false", f"--cluster-cidr={POD_RANGE}"),
            f"--service-cluster-ip-range={SERVICE_RANGE}",
        ]


_CONFIGURATIONS = ("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig")
