"""The mean of several trained networks of one architecture, as a checkpoint.

    python benchmarks/average.py cracks=0.4 runs/one=0.3 runs/two=0.3 --threshold 0.68 \
        --output mean.pt

The mean of networks that were fine-tuned from the same weights is often better on unseen photos
than each of them (Wortsman et al., Model soups and Robust fine-tuning, 2022). Two shares, as in
0.3:0.5, are those of a network's encoder and of its decoder. BatchNorm's statistics are averaged,
too; networks of one run have similar ones. The result gets the split of the last network, which
must include the photos of the others.
"""

import argparse
from pathlib import Path

import torch

from unet_resnet import checkpoint
from unet_resnet.audit.scoring import trained_on
from unet_resnet.files import check_new, number, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="+", metavar="CHECKPOINT=SHARE[:SHARE]")
    parser.add_argument("--threshold", type=number(0, 1), required=True)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    check_new(args.output)
    mean, known, total, first = {}, [], torch.zeros(2), None
    for part in args.parts:
        path, _, shares = part.rpartition("=")
        encoder, decoder = (float(share) for share in (shares.split(":") * 2)[:2])
        total += torch.tensor([encoder, decoder])
        network, content = checkpoint.load(Path(path))
        known.append({hash or name: name for name, hash in trained_on(content.split).items()})
        shape = content.blocks, content.widths
        if (first := first or shape) != shape:
            raise ValueError(f"{path}: another architecture than the networks before it")
        for name, tensor in content.model.items():
            share = encoder if name.startswith("encoder.") else decoder
            mean[name] = mean.get(name, 0) + share * tensor.double()
    if not torch.allclose(total, torch.ones(2)):
        raise ValueError("the shares of encoder and of decoder add up to {:g} and {:g}; expected 1 "
                         "each".format(*total.tolist()))
    if strangers := [one[photo] for one in known for photo in one.keys() - known[-1].keys()]:
        raise ValueError(f"{min(strangers)}: in the split of a network, but not of the last one")
    network.load_state_dict({name: tensor.to(content.model[name].dtype)
                             for name, tensor in mean.items()})
    checkpoint.save(args.output, network, args.threshold, content.split,
                    settings=content.settings)


if __name__ == "__main__":
    run(main, "average.py")
