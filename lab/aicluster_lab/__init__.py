"""The lab: seven nodes on one machine, each a container with systemd, sshd and its own Docker Engine."""
