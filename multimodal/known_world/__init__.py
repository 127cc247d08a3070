"""A known world: a process that makes narrated videos as tokens, and the best possible answers about them."""
