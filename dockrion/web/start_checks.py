"""What `dockrion validate` and `dockrion doctor` find out about a start, without starting."""

from dockrion.agents.loading import Findings, check_agent
from dockrion.dockfile import Loaded
from dockrion.errors import StartError
from dockrion.web import optional_parts
from dockrion.web.backend_factory import check_backend
from dockrion.web.root_path import check_root_path
from dockrion.web.routes import routes


async def check_start(loaded: Loaded) -> Findings:
    """Return why a service would not start, and what of the agent's code it would ignore.

    Nothing is connected to or opened.

    Args:
        loaded: The Dockfile, validated.
    """
    lines: list[str] = []
    with_credentials = [optional_parts.authenticator, optional_parts.webhooks, optional_parts.traced]
    others = [check_backend, _root_path, optional_parts.tls]
    for check in (*([] if loaded.credentials.missing else with_credentials), *others):
        try:
            check(loaded)
        except StartError as error:
            lines += str(error).splitlines()
    agent = await check_agent(loaded.dockfile, loaded.path.parent)
    return Findings(lines + agent.errors, agent.warnings)


def _root_path(loaded: Loaded) -> None:
    check_root_path(loaded.dockfile.expose.root_path, [route.path for route in routes(loaded.dockfile)])
