"""Writing a streamed answer: in bounded bytes, exactly once, whatever happens to the worker."""
