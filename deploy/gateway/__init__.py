"""The mail gateway: its Postfix's configuration, and who may send what to whom by it."""
