"""OpenAI's API: Chat Completions and Responses (OpenAI API reference)."""
