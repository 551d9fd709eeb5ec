"""Settings of the training of a pose-guided generator."""

import dataclasses

from fastreid.config import CfgNode

from fastreid_ext.generation.runs.settings import read_settings


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """Settings that may not change when a training continues; see ``GENERATION.POSE_GUIDED``.

    Attributes:
        seed: seed of the run.
        size: height and width in pixels.
        pairs: kind of the pairs, "identity" or "frames".
        min_gap: least distance of two frames under "frames".
        crops: number of crops of each image.
        crop_scale: smallest edge of a crop as a share of the image's.
        batch_size: rows of a step, of all processes together.
        base_lr: learning rate of AdamW.
        weight_decay: weight decay of AdamW.
        max_grad_norm: maximum norm of the gradient; 0 = not clipped.
        drop_condition: probability of a row without reference and context.
        zero_snr: whether the noise schedule ends in pure noise; a START keeps its own.
        min_snr: cap of the min-SNR weight; 0 = unweighted.
        ema: decay of the averaged weights; 0 = none.
        dtype: dtype of the arithmetic, "float32" or "bfloat16".
    """

    seed: int
    size: tuple[int, int]
    pairs: str = "identity"
    min_gap: int = 30
    crops: int = 4
    crop_scale: float = 0.9
    batch_size: int = 4
    base_lr: float = 1e-5
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    drop_condition: float = 0.1
    zero_snr: bool = False
    min_snr: float = 0.0
    ema: float = 0.999
    dtype: str = "float32"

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "TrainingSettings":
        """Read the settings from a configuration."""
        return read_settings(
            cls, cfg.GENERATION.POSE_GUIDED, seed=max(cfg.SEED, 0), dtype=cfg.GENERATION.DTYPE
        )
