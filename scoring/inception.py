"""Features of the Inception network, for FIDs that compare with published ones."""

import sys

import torch


def inception(weights, device):
    """torch-fidelity's Inception network of 2015-12-05.

    weights: its file, or None to let torch-fidelity download it. Returns a function from uint8
    images [N, C, H, W] to features [N, 2048].
    """
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError:
        sys.exit(
            "error: --fid-features inception needs torch-fidelity; install it with: "
            "python -m pip install -r requirements-extras.txt"
        )
    try:
        network = FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048"], feature_extractor_weights_path=weights
        )
    except Exception as error:
        found = f"read from {weights}" if weights else "downloaded"
        sys.exit(
            f"error: Inception's weights could not be {found} ({type(error).__name__}); "
            "get torch-fidelity's file and name it by --inception-weights"
        )
    network = network.to(device).eval()

    @torch.no_grad()
    def features(images):
        rgb = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
        return torch.cat([network(chunk.to(device))[0] for chunk in rgb.split(64)])

    return features
