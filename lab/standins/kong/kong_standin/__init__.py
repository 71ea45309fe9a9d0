"""A stand-in for Kong: its routing, balancing, health and plugin rules as documented, in readable Python."""

VERSION = "3.9.3"
SERVER = f"kong-stand-in/{VERSION}"
