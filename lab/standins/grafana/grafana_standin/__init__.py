"""A stand-in for Grafana: the same files and the same questions, no drawing."""
