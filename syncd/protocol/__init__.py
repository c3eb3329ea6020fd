"""Pure. What travels between two daemons, as values and sans-io machines: TLS, requests, messages, frames, hello."""
