"""How PostgREST knows the gateway: by a signed token (JWT, RFC 7519) that names a role of the database."""

import base64
import hashlib
import hmac
import json


def token_key(password: str) -> str:
    """Return the key that signs tokens, as 64 hexadecimal digits.

    It follows from the password of the role that signs in to the database, which may become any other.
    """
    return hmac.new(password.encode(), b"tokens of PostgREST", hashlib.sha256).hexdigest()


def role_token(password: str, role: str) -> str:
    """Return the token that makes its bearer a role of the database, until the password changes."""
    parts = ".".join(base64url(json.dumps(part).encode()) for part in ({"alg": "HS256"}, {"role": role}))
    signature = hmac.new(token_key(password).encode(), parts.encode(), hashlib.sha256).digest()
    return f"{parts}.{base64url(signature)}"


def base64url(content: bytes) -> str:
    """Return bytes as the parts of a token are written."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
