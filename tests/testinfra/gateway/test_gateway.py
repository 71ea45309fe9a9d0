"""Nobody without a key keeps the ingress busy."""

import socket
from urllib.parse import urlsplit

CHAT = "/api/v1/chat"


def test_the_body_of_a_client_without_a_key_is_not_waited_for(gateway_url):
    address = urlsplit(gateway_url)
    head = f"POST {CHAT} HTTP/1.1\r\nHost: {address.hostname}\r\nContent-Length: 10000000\r\n\r\n"
    with socket.create_connection((address.hostname, address.port or 80), timeout=10) as connection:
        connection.sendall(head.encode() + b'{"messages": [')
        assert connection.recv(4096).startswith(b"HTTP/1.1 401 ")
