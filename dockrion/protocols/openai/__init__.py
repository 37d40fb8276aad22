"""OpenAI's API: Chat Completions and Responses (https://platform.openai.com/docs/api-reference).

`chat_requests` and `response_requests` convert what clients send. `chat` writes a run as a completion, whole
or in chunks, of the parts that `chat_reply` finds in its events; `chat_positions` counts chunks for those who
resume. `responses` writes a run as a response, whose output items are in `response_items`.
"""
