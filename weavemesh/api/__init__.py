"""The local API: HTTP/1.1 and JSON over a unix socket that only root can open.

GET /v1/status · GET /v1/report · GET /v1/ready?known=N&wait_s=S · POST /v1/connect · POST /v1/forget ·
POST /v1/secrets · POST /v1/rotate-key · POST /v1/stop · POST /v1/expose · POST /v1/hide (`weavemesh.api.pod`) ·
POST /v1/ring/{remove,leave,lookup,allocate,claim,release,clear} (`weavemesh.api.ring`).
Here is what both sides share and the side of the command line, which starts without asyncio; the agent's side is
`weavemesh.api.server` with `weavemesh.api.readiness`.
"""

from weavemesh.api.client import AgentNotRunning, ApiClient
from weavemesh.api.message import SOCKET_NAME, Changed, ConnectRequest, ForgetRequest, Readiness, StopRequest

__all__ = [
    "SOCKET_NAME",
    "AgentNotRunning",
    "ApiClient",
    "Changed",
    "ConnectRequest",
    "ForgetRequest",
    "Readiness",
    "StopRequest",
]
