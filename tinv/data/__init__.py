"""Training images: reading, cropping, captions, masks, latents, and their order in a run."""
