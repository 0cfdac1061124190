"""Files of weights: what they are, what they hold, and checkpoints of this pack."""
