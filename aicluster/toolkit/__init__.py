"""The toolkit itself, as it is installed on the control node."""
