"""A subscriber's local copy of one scope, without I/O: what came over the stream and what syncs brought, merged."""
