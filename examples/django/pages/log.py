"""The server's log where there is one, else standard error."""

try:
    from gsgi import LogHandler as Handler
except ImportError:
    from logging import StreamHandler as Handler

__all__ = ["Handler"]
