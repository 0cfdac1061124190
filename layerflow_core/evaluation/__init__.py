"""How good a layered result is: measures as rows of one table, and what runs them over many results."""
