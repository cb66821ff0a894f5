"""Learn a concept: `python train.py +experiment=cat_toy`. The door itself is tinv/training/main.py."""

from tinv.training.main import main

if __name__ == "__main__":
    main()
