"""``stillhouse datasets`` and ``upload``."""
