"""A stand-in for Kong: its routing, balancing, health and plugin rules as documented, in readable Python."""

SERVER = "kong-stand-in"
