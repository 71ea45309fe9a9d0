"""How PostgREST knows the gateway: by a signed token (JWT, RFC 7519) that names a role of the database."""

import base64
import hashlib
import hmac
import json


def role_token(key: str, role: str) -> str:
    """Return the token that makes its bearer a role of the database, until the key changes."""
    parts = ".".join(base64url(json.dumps(part).encode()) for part in ({"alg": "HS256"}, {"role": role}))
    signature = hmac.new(key.encode(), parts.encode(), hashlib.sha256).digest()
    return f"{parts}.{base64url(signature)}"


def base64url(content: bytes) -> str:
    """Return bytes as the parts of a token are written."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
