"""Settings: composes, checks and explains them, and builds objects from them."""
