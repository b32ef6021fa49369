"""The web service, the queue's tasks and the command that starts both."""
