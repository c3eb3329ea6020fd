"""The doors for people and their programs: the control socket, and later the status page."""
