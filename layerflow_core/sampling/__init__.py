"""Schedule, guidance, solver and the one loop that runs them."""
