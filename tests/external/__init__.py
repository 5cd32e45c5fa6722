"""The suite on a project that is already there (``make test-external``): whose it may be, and how it is left."""
