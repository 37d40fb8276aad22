"""OpenAI's API, below `/v1/`."""

from dockrion.web.protocols.openai import chat, models, responses
from dockrion.web.protocols.openai.errors import error_response

ROUTES = (*chat.ROUTES, *models.ROUTES, *responses.ROUTES)
ERROR_RESPONSES = {"/v1/": error_response}
