"""Parts of a model at work on a device: what fits, what comes next when memory runs out, several processes."""
