"""Video streams, read and written through PyAV."""
