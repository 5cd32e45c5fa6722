"""The stack's one port: who is answered, what is passed on, and for how long anybody is waited for."""
