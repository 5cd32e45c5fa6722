"""A scope, followed without silent gaps: the socket around a replica."""
