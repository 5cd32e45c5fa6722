"""The write-ahead log as a client reads it: the pgoutput decoder (pure) and the replication reader."""
