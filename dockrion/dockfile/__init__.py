"""The Dockfile: its fields, and loading it."""

from dockrion.dockfile.credentials import Credentials
from dockrion.dockfile.loading import Loaded, load
from dockrion.dockfile.problems import DockfileError, Problem
from dockrion.dockfile.structs import Dockfile
from dockrion.dockfile.summary import summary, unserved

__all__ = [
    "Credentials",
    "Dockfile",
    "DockfileError",
    "Loaded",
    "Problem",
    "load",
    "summary",
    "unserved",
]
