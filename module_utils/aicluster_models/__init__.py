"""What the module `ollama_model` does on a node: Python 3.6 and its standard library."""
