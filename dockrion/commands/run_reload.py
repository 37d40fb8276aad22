"""`dockrion run --reload`: the supervisor, and the worker that it restarts."""

import argparse
import logging
from collections.abc import Sequence

from dockrion import logs
from dockrion.commands.dockfile_options import exported, load_dockfile, refusals, unshared_runs
from dockrion.commands.run_log import start_log
from dockrion.dockfile import Loaded
from dockrion.dockfile.agent_structs import AgentSpec
from dockrion.dockfile.credentials import Credentials
from dockrion.dockfile.structs import Dockfile
from dockrion.errors import StartError
from dockrion.ids import new_incarnation
from dockrion.printed_output import printed_output_logged
from dockrion.redaction import Redactor
from dockrion.runs.session import current_session
from dockrion.server.announcer import Announcer
from dockrion.server.process import exit_within, serve
from dockrion.server.sockets import Address
from dockrion.server.worker import Worker
from dockrion.web import optional_parts
from dockrion.web.reload_mode import ReloadMode

_GRACE_SECONDS = 0.5  # of runs at work when a file is saved
_logger = logging.getLogger(__name__)


def supervise_reloading(
    options: argparse.Namespace, arguments: Sequence[str], address: Address, announcer: Announcer
) -> int:
    """Serve until a signal ends it, with a new worker whenever a file is saved.

    Args:
        options: The arguments of the command line.
        arguments: Those of the workers.
        address: Where to listen.
        announcer: Tells a person what the service does.

    Returns:
        The exit code.

    Raises:
        StartError: The address is taken, or a package is missing.
    """
    try:
        from dockrion.server.file_changes import AgentFiles  # noqa: PLC0415  an extra
    except ModuleNotFoundError as error:
        raise StartError(
            f"--reload needs the package {error.name}: pip install 'dockrion[dev-server]'"
        ) from error
    from dockrion.server.reloader import serve_reloading  # noqa: PLC0415  imports the extra, too

    files = AgentFiles(options.dockfile, options.env_file)
    return serve_reloading(arguments, address, files, announcer)


def serve_reloaded(options: argparse.Namespace) -> int:
    """Serve as the worker, once the supervisor says so, and return the exit code."""
    worker = Worker(options.worker_slot)
    failure = worker.wait_for_start()
    if failure is None:
        return 0
    loaded, refused = _load(options, failure)
    try:
        _serve(options, worker, loaded, refused)
    except StartError as error:
        _serve(options, worker, _stand_in(options), error)
    exit_within(0)
    return 0


def _load(options: argparse.Namespace, failure: str) -> tuple[Loaded, StartError | None]:
    """Return the Dockfile; and a stand-in, if it is not valid or not to be served, with the reason."""
    if failure:
        return _stand_in(options), StartError(failure)
    try:
        loaded = load_dockfile(options)
    except StartError as error:
        return _stand_in(options), error
    if refused := refusals(loaded) + unshared_runs(loaded, options.role):
        return _stand_in(options), StartError("\n".join(refused))
    return loaded, None


def _stand_in(options: argparse.Namespace) -> Loaded:
    dockfile = Dockfile(version="1.0", agent=AgentSpec(name="agent", framework="custom"))
    return Loaded(options.dockfile, dockfile, [], {}, {}, {}, [], Credentials())


def _serve(options: argparse.Namespace, worker: Worker, loaded: Loaded, refused: StartError | None) -> None:
    redactor = Redactor(loaded.confidential)
    log = start_log(
        loaded, redactor, role=options.role, log_format=options.log_format, shared=True, supervised=True
    )
    for warning in loaded.warnings:
        logs.log(_logger, logging.WARNING, str(warning))
    host, tls = options.host or loaded.dockfile.expose.host, optional_parts.tls(loaded)
    address = Address(host, 0, tls=tls)  # its supervisor listens
    reload = ReloadMode(new_incarnation(), loaded.path.parent, refused)
    with exported(loaded.agent_environment), printed_output_logged(log.handler, redactor, current_session):
        serve(
            loaded,
            address,
            role=options.role,
            worker=worker,
            grace=_GRACE_SECONDS,
            announcer=log.announcer,
            reload=reload,
        )
