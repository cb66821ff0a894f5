"""Learn a concept: `python train.py +experiment=cat_toy`. The door itself is tinv/front.py."""

from tinv.front import main

if __name__ == "__main__":
    main()
