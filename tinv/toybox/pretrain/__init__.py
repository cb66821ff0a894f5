"""The pretraining of the toybox model, in stages: `python -m tinv.toybox.pretrain --out DIR`."""
