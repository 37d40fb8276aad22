"""OpenAI's API, below `/v1/`."""

from dockrion.web.protocols.openai import chat, models
from dockrion.web.protocols.openai.errors import error_response

ROUTES = (*models.ROUTES, *chat.ROUTES)
ERROR_RESPONSES = {"/v1/": error_response}
