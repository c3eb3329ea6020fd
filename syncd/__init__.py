"""Pure. syncd keeps folders equal on the computers of people who trust each other, without a server in the middle."""

__version__ = "0.1.0"
