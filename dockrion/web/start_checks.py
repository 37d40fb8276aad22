"""What `dockrion validate` and `dockrion doctor` find out about a start, without starting."""

from dockrion.agents.loading import Findings, check_agent
from dockrion.dockfile import Loaded
from dockrion.errors import StartError
from dockrion.web import optional_parts
from dockrion.web.backend_factory import check_backend


async def check_start(loaded: Loaded) -> Findings:
    """Return why a service would not start, and what of the agent's code it would ignore.

    Nothing is connected to or opened.

    Args:
        loaded: The Dockfile, validated.
    """
    lines: list[str] = []
    with_credentials = [optional_parts.authenticator, optional_parts.webhooks, optional_parts.traced]
    for check in (*([] if loaded.credentials.missing else with_credentials), check_backend):
        try:
            check(loaded)
        except StartError as error:
            lines += str(error).splitlines()
    agent = await check_agent(loaded.dockfile, loaded.path.parent)
    return Findings(lines + agent.errors, agent.warnings)
