"""A stand-in for Ollama: real protocol, made-up models."""

VERSION = "0.32.15"
