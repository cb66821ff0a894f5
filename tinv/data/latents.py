"""Each picture through the VAE once, before training: its moments in every orientation that training will show.

N pictures, O orientations, C latent channels, h w latent height and width.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from tinv.data.images import Picture


def encode_pictures(pictures: Sequence[Picture], encode: Callable[[Tensor], Tensor], *, flip: bool) -> Tensor:
    """Moments of pictures, so that the posterior can still be sampled afresh at every step.

    Pictures are encoded one at a time: a picture's moments do not depend on its neighbours, to the last bit.

    Args:
        pictures: N of one size.
        encode: the frozen VAE, [1, 3, H, W] in [-1, 1] -> [1, 2C, h, w].
        flip: encode the mirrored picture, too.

    Returns:
        [N, O, 2C, h, w] float32 on the CPU; O is 2 with `flip`, the mirrored picture second, else 1.
    """
    moments = []
    for picture in pictures:
        seen = [picture.pixels, picture.pixels.flip(-1)] if flip else [picture.pixels]
        moments.append(torch.cat([encode(pixels.unsqueeze(0)).float().cpu() for pixels in seen]))
    return torch.stack(moments)
