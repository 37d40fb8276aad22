"""For tests of agents: run one without a service, and see what it emits.

`record` runs an agent as the service would, and `RecordedRun` is what it did. `RecordingContext` is a context
for calling an agent's functions by hand. Import the names below from here. Imports the engine and the kinds
of agents; nothing of the service imports it.
"""

from dockrion.caller import Caller
from dockrion.events.decoding import Custom
from dockrion.testing.recorded_run import RecordedRun, record
from dockrion.testing.recording_context import RecordingContext

__all__ = ["Caller", "Custom", "RecordedRun", "RecordingContext", "record"]
