"""Networks and weight files. Heavy libraries load when a model is loaded, not when this package is imported."""
