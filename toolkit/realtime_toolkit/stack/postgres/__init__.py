"""The stack's Postgres: embedded, in a container or given, with what Supabase puts into it."""
