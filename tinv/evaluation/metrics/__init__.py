"""Metrics of samples: CLIP-I, CLIP-T, DINO, diversity and copies."""
