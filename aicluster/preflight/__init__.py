"""What is wrong with the description of a site, and with a node."""
