"""The proof that a subscriber has what the database says it may see."""
