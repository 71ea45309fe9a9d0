"""The gateway: who gets how many requests, and who may pass."""
