"""How any network here is trained and asked."""
