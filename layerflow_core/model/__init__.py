"""Networks, LoRA, loading. Heavy libraries load when a model is loaded, not when this package is imported."""
