"""How schemathesis sends bodies of types that it does not know; it imports this by itself."""

import json

import schemathesis


@schemathesis.serializer("application/zip")
def send_zip(_: schemathesis.SerializationContext, value: object) -> bytes:
    """Send bytes as they are, and what is none, to be refused, as text."""
    return value if isinstance(value, bytes) else json.dumps(value, default=str).encode()
