"""diffusers' textual-inversion scripts, run as they are and listened to, and tinv run on what they did."""
