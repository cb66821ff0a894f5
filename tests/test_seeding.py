import subprocess
import sys

import torch

from tinv.seeding import generator, seed_of


def test_a_key_has_the_same_seed_in_every_process():
    code = "from tinv.seeding import seed_of; print(seed_of(7, 'noise', 3))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(printed) == seed_of(7, "noise", 3)


def test_different_keys_give_uncorrelated_noise():
    keys = [(0, "a", 1), (0, "a", 2), (1, "a", 1), (0, "b", 1), (0, "a1"), ("0", "a", 1)]
    assert len({seed_of(*key) for key in keys}) == len(keys)
    noise = torch.stack([torch.randn(4096, generator=generator(*key)) for key in keys])
    assert (torch.corrcoef(noise) - torch.eye(len(keys))).abs().max() < 0.06


def test_generators_do_not_change_the_global_state():
    before = torch.get_rng_state()
    torch.randn(8, generator=generator(1, 2, 3))
    assert torch.equal(before, torch.get_rng_state())
