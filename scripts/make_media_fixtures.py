"""Makes tests/fixtures/media: what transformers' own processors make of synthetic media. Run it
with the `parity` extra and torchvision installed, from the repository's root:

    python -m scripts.make_media_fixtures

No build of torchvision for CPUs is needed: its operators are only declared, and resizing, all that
is used of it, is torch's. Patches and pixels are stored thinned out: every STRIDE-th value.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

# Before transformers imports torchvision.
library = torch.library.Library("torchvision", "DEF")
_POOLS = ("roi_align", "ps_roi_align", "roi_pool", "ps_roi_pool", "deform_conv2d")
for name in ("nms", "qnms", *_POOLS, *(f"_{pool}_backward" for pool in _POOLS)):
    library.define(f"{name}(Tensor a) -> Tensor")

from transformers.models.gemma3.image_processing_gemma3 import Gemma3ImageProcessor  # noqa: E402
from transformers.models.gemma4_unified.feature_extraction_gemma4_unified import (  # noqa: E402
    Gemma4UnifiedAudioFeatureExtractor,
)
from transformers.models.gemma4_unified.image_processing_gemma4_unified import (  # noqa: E402
    Gemma4UnifiedImageProcessor,
    get_aspect_ratio_preserving_size,
)
from transformers.models.gemma4_unified.video_processing_gemma4_unified import (  # noqa: E402
    Gemma4UnifiedVideoProcessor,
)
from transformers.video_utils import VideoMetadata, default_sample_indices_fn  # noqa: E402

from tests.model.media.pictures import textured  # noqa: E402

TARGET = Path(__file__).resolve().parent.parent / "tests" / "fixtures" / "media"

BUDGETS = (70, 140, 280, 560, 1120)
STRIDE = 97
"""Shares no factor with a row of a patch, so all places in it are met."""
SIDES = (1, 2, 3, 17, 47, 48, 49, 100, 333, 480, 768, 1000, 1080, 1920, 4000, 12000)
IMAGES = ((336, 480, 70), (100, 150, 70), (37, 411, 140), (500, 300, 280), (3, 300, 70))
"""(height, width, budget); the first keeps its size."""
SIGLIP = ((896, 896, False), (300, 500, False), (300, 900, True), (1300, 520, True))
"""(height, width, pan and scan); the first keeps its size."""
SAMPLED = ((1, 1), (32, 32), (33, 32), (50, 32), (1000, 32), (999, 7))
"""(frames that there are, frames taken)"""


def main() -> None:
    TARGET.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {}
    for height, width, budget in IMAGES:
        name = f"image_{height}_{width}_{budget}"
        made = Gemma4UnifiedImageProcessor(max_soft_tokens=budget)(
            textured(height, width), return_tensors="np", input_data_format="channels_last"
        )
        count = int(made["num_soft_tokens_per_image"][0])
        arrays[f"{name}_patches"] = made["pixel_values"][0][:count, ::STRIDE]
        arrays[f"{name}_positions"] = made["image_position_ids"][0][:count]
    frames = np.stack([textured(60, 80, seed) for seed in range(3)])
    video = Gemma4UnifiedVideoProcessor()(
        [frames], do_sample_frames=False, return_tensors="np", input_data_format="channels_last"
    )
    count = int(np.sum(video["video_position_ids"][0, :, 0] >= 0))
    arrays["video_patches"] = video["pixel_values_videos"][:, :count, ::STRIDE]
    arrays["video_positions"] = video["video_position_ids"][0, :count]
    sound = np.sin(np.arange(1500) / 9).astype(np.float32)
    arrays["audio"] = Gemma4UnifiedAudioFeatureExtractor()([sound], return_tensors="np")[
        "input_features"
    ][0]
    for height, width, pan in SIGLIP:
        made = Gemma3ImageProcessor(size={"height": 896, "width": 896})(
            textured(height, width),
            do_pan_and_scan=pan,
            pan_and_scan_min_crop_size=256,
            pan_and_scan_max_num_crops=4,
            pan_and_scan_min_ratio_to_activate=1.2,
            return_tensors="np",
        )
        pixels = made["pixel_values"].transpose(0, 2, 3, 1)
        arrays[f"siglip_{height}_{width}_{int(pan)}"] = pixels[:, ::STRIDE, ::STRIDE]
    np.savez_compressed(TARGET / "processors.npz", **arrays)
    (TARGET / "sizes.json").write_text(json.dumps({"sizes": sizes(), "sampled": sampled()}))


def sizes() -> list[list[int]]:
    """[height, width, budget, height after, width after]"""
    return [
        [height, width, budget, *get_aspect_ratio_preserving_size(height, width, 16, budget * 9, 3)]
        for height in SIDES
        for width in SIDES
        for budget in BUDGETS
    ]


def sampled() -> list[list[Any]]:
    """[frames that there are, frames taken, indices]"""
    return [
        [
            total,
            wanted,
            default_sample_indices_fn(
                VideoMetadata(total_num_frames=total, fps=10.0), num_frames=wanted
            ).tolist(),
        ]
        for total, wanted in SAMPLED
    ]


if __name__ == "__main__":
    main()
