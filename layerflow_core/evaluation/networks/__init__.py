"""The networks that measures look with: each built by its structure and filled from a file that the user has."""
