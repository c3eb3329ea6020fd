"""Async. The daemon of a device: its folders, memberships, invitations and peers, wired together in `daemon.app`."""
