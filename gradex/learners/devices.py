"""Where learning happens."""

import torch


def update_device() -> torch.device:
    """Give the device for updates: CUDA's if there is one.

    Simulators and the policies that act in them stay on the CPU, and so does what a training gives back.
    `CUDA_VISIBLE_DEVICES=` in the environment keeps everything there.
    """
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
