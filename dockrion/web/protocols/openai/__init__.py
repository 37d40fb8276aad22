"""OpenAI's API, below `/v1/`: chat completions, responses, and the agent as a model."""

from dockrion.web.protocols.openai import chat, models, responses
from dockrion.web.protocols.openai.errors import respond_to_error

ROUTES = (*chat.ROUTES, *models.ROUTES, *responses.ROUTES)
ERROR_RESPONSES = {"/v1/": respond_to_error}
