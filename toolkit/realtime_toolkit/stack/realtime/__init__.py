"""The stack's Realtime server, which unmodified clients cannot tell from the genuine one."""
