"""The Dockfile: the structs of its sections, and loading a file into them.

`load` turns a file and an environment into `Loaded`; every mistake in the file is reported with its position.
Other packages use the names below, and the structs of single sections, in the modules `*_structs`.
May import: events, json_schema and policies, to check what fields refer to.
"""

from dockrion.dockfile.credentials import Credentials
from dockrion.dockfile.loading import Loaded, load
from dockrion.dockfile.problems import DockfileError, Problem
from dockrion.dockfile.shared_settings import public_target, shared_settings
from dockrion.dockfile.structs import Dockfile
from dockrion.dockfile.summary import summary, unserved

__all__ = [
    "Credentials",
    "Dockfile",
    "DockfileError",
    "Loaded",
    "Problem",
    "load",
    "public_target",
    "shared_settings",
    "summary",
    "unserved",
]
