"""What is shown: pictures, their latents, and the order in which a run sees them."""
