"""Who may come in: keys, tokens, accounts."""
