"""The stack's Auth: keys, accounts, and the endpoints clients need to get a token."""
