"""An AI sales agent: organisations, their prospects, and email campaigns."""
