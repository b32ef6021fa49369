"""The web service, the queue's tasks, the client, and the command line that uses it."""

__version__ = "0.1.0"
