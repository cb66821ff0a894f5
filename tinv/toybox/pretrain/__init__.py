"""How the toybox model was made: `python -m tinv.toybox.pretrain --out DIR` repeats it, stage by stage."""
