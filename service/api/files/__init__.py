"""Gemini's and OpenAI's Files APIs, over one store."""
