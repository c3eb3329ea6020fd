"""What makes packages of a checkout. Nothing of it is installed."""
