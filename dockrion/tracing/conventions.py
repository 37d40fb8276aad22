"""The names of spans, attributes and events.

Those of HTTP are stable. Those of agents, models and tools are of the semantic conventions for generative AI
as of version 1.41, in development, which is why all names stand here. Those that begin with `dockrion` are
this service's own, for what the conventions have no name.
"""

# Requests: https://opentelemetry.io/docs/specs/semconv/http/http-spans/
HTTP_METHOD = "http.request.method"
HTTP_METHOD_ORIGINAL = "http.request.method_original"
HTTP_ROUTE = "http.route"
HTTP_STATUS = "http.response.status_code"
URL_PATH = "url.path"
URL_SCHEME = "url.scheme"
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"
CLIENT_ADDRESS = "client.address"
USER_AGENT = "user_agent.original"
PROTOCOL_VERSION = "network.protocol.version"
OTHER_METHOD = "_OTHER"
UNNAMED_METHOD = "HTTP"  # in the name of a span, for such a method

# Runs: https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-agent-spans/
OPERATION = "gen_ai.operation.name"
INVOKE_AGENT = "invoke_agent"
EXECUTE_TOOL = "execute_tool"
PROVIDER = "gen_ai.provider.name"
AGENT_NAME = "gen_ai.agent.name"
AGENT_DESCRIPTION = "gen_ai.agent.description"
AGENT_VERSION = "gen_ai.agent.version"
REQUEST_MODEL = "gen_ai.request.model"
RESPONSE_MODEL = "gen_ai.response.model"
CONVERSATION = "gen_ai.conversation.id"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
FIRST_TOKEN_SECONDS = "gen_ai.response.time_to_first_chunk"  # noqa: S105  no secret
INPUT_MESSAGES = "gen_ai.input.messages"
OUTPUT_MESSAGES = "gen_ai.output.messages"

# Tools
TOOL_NAME = "gen_ai.tool.name"
TOOL_TYPE = "gen_ai.tool.type"
TOOL_CALL_ID = "gen_ai.tool.call.id"
TOOL_ARGUMENTS = "gen_ai.tool.call.arguments"
TOOL_RESULT = "gen_ai.tool.call.result"

ERROR_TYPE = "error.type"
EXCEPTION_TYPE = "exception.type"  # of the agent's exception that ended a run
NO_RESULT = "no_result"  # the error type of a tool's call without a result when its run ended
TOOL_ERROR = "tool_error"

# Langfuse: https://langfuse.com/integrations/native/opentelemetry
LANGFUSE_NAME = "langfuse.trace.name"
LANGFUSE_TAGS = "langfuse.trace.tags"

USER_ID = "user.id"

FRAMEWORK = "dockrion.framework"
RUN_ID = "dockrion.run.id"
RUN_STATUS = "dockrion.run.status"
RUN_ATTEMPT = "dockrion.run.attempt"
OMITTED_SPANS = "dockrion.run.omitted_spans"
SOURCE = "dockrion.source"
STEP_NAME = "dockrion.step.name"
STEP = "step"

# Events of a run's span
ATTEMPT = "dockrion.attempt"  # the agent begins to work
PREVIOUS_END = "dockrion.attempt.previous"
FIRST_TOKEN = "dockrion.first_token"  # noqa: S105  as above
CHECKPOINT = "dockrion.checkpoint"
CHECKPOINT_NAME = "dockrion.checkpoint.name"
CHECKPOINT_DATA = "dockrion.checkpoint.data"
CANCEL = "dockrion.cancel"
CANCEL_REASON = "dockrion.cancel.reason"
