"""The site: its services, nodes and placement."""
