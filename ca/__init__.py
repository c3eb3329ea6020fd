"""Pure. The certificate authority of folders: who a device is, who belongs to a folder, and which secrets they share.

Everything here is a value in and a value out, except `keyfiles` and `cli`. Time, randomness and sealing are arguments.
`ca` imports nothing of `syncd`; every daemon embeds it, and `syncd-ca` uses it without a daemon.
"""
