"""A process that starts as the agent does but is none: it serves the local API and does as its first word says.

Words: ready · waits · fails · dies · hangs (ignores SIGTERM) · removed (will never be ready); then state folder, run
folder.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from tests.unit.weavemesh.sample import SampleAgent
from weavemesh.api.message import SOCKET_NAME
from weavemesh.api.server import ApiServer
from weavemesh.config import AgentConfig, check
from weavemesh.error import UserError
from weavemesh.foreground import run_in_foreground
from weavemesh.option import Options


async def run_sample(config: AgentConfig, *, on_ready: Callable[[str], None]) -> None:
    behaviour = sys.argv[1]
    if behaviour == "fails":
        async with asyncio.TaskGroup():
            raise UserError("port 6783 is taken", remedy="choose another with --port")
    if behaviour == "dies":
        sys.stdout.write("last words\n")
        sys.stdout.flush()
        os._exit(7)
    agent = SampleAgent()
    agent.readiness.step("waiting for the first peer")
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, agent.stopped.set if behaviour != "hangs" else lambda: None)
    server = ApiServer.open(config.run_dir / SOCKET_NAME)
    try:
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(server.serve(agent))
            if behaviour == "removed":
                agent.ring.can_leave = False
                agent.readiness.refuse("this peer was removed", "begin as a new peer")
            elif behaviour != "waits":
                agent.readiness.finish("ready: n1 has 10.32.0.1")
                on_ready("ready: n1 has 10.32.0.1")
            await agent.stopped.wait()
            serving.cancel()
    finally:
        server.close()


def main() -> None:
    state_dir, run_dir = Path(sys.argv[2]), Path(sys.argv[3])
    options = Options(targets=("host1",), nickname="n1")
    config = check(options, state_dir=state_dir, run_dir=run_dir, environment={})
    try:
        run_in_foreground(config, options, run_sample, environment=os.environ, say=print)
    except UserError as error:
        sys.exit(f"weavemesh: {error}")


if __name__ == "__main__":
    main()
