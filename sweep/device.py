"""Device: what of this machine trains networks, and what records call it."""

import torch


def devices() -> list[torch.device]:
    """List the devices to train on: every GPU that is visible, else the CPU."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return [torch.device("cuda", index) for index in range(count)] or [torch.device("cpu")]


def device_name(device: torch.device) -> str:
    """Return the name of a device for the records."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
