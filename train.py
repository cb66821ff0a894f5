"""Trains an embedding: `python train.py +experiment=cat_toy`. See tinv/training/main.py."""

from tinv.training.main import main

if __name__ == "__main__":
    main()
