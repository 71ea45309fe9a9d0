"""What fits on a node: services and models."""
