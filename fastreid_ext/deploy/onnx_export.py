"""A model as an ONNX file that takes plain RGB images and is checked before it is written.

Input ``images`` (batch, 3, H, W), RGB in [0, 255], float32 or uint8, of the size the metadata say;
output ``features`` (batch, D) float32. Subtracting the mean and dividing by the standard deviation
are inside the graph; resizing is not. The batch may have any size.
"""

import contextlib
import dataclasses
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from fastreid_ext.atomic import atomic_write_bytes, expect_writable
from fastreid_ext.data.dataset import read_rgb
from fastreid_ext.deploy.feature_extractor import FeatureExtractor
from fastreid_ext.deploy.load import Config
from fastreid_ext.evaluation.features import batch_features

_LARGEST_FILE = 2 * 2**30  # of a protobuf message


@dataclasses.dataclass(frozen=True)
class ExportReport:
    """Report of an export: the file, and how far onnxruntime is from torch on the same images.

    Attributes:
        path: ONNX file that was written.
        shape: shape (3, H, W) of an image.
        feature_dim: dimension D of the features.
        checked: number of images that were compared.
        difference: largest absolute difference of any feature value.
        largest: largest absolute feature value of torch, to judge ``difference`` by.
    """

    path: Path
    shape: tuple[int, int, int]
    feature_dim: int
    checked: int
    difference: float
    largest: float

    def __str__(self) -> str:
        return (
            f"{self.path}: images (batch, {', '.join(map(str, self.shape))}) -> features (batch, "
            f"{self.feature_dim}); onnxruntime differs from torch by at most {self.difference:.1e} "
            f"(largest value {self.largest:.3g}) on {self.checked} images"
        )


class ImagesToFeatures(nn.Module):
    """The graph that is exported: images (B, 3, H, W) in [0, 255] to features (B, D).

    Args:
        model: in evaluation mode; normalises by itself.
        flip: average with the features of the mirrored images.
    """

    def __init__(self, model: nn.Module, *, flip: bool) -> None:
        super().__init__()
        self.model = model
        self.flip = flip

    def forward(self, images: Tensor) -> Tensor:
        """Return the features."""
        return batch_features(self.model, {"images": images.float()}, flip=self.flip)


def export_onnx(
    config: Config,
    weights: str | Path,
    output: str | Path,
    *,
    images: Sequence[str | Path] = (),
    uint8: bool = False,
    flip: bool | None = None,
    tolerance: float = 1e-4,
    overrides: Sequence[str] = (),
) -> ExportReport:
    """Export a model and compare it with torch on random and on given images.

    Example::

        weights = "demo/train/model_final.pth"
        report = export_onnx("demo/train/config.yaml", weights, "demo/model.onnx")
        print(report)

    Args:
        config: a YAML file or a configuration.
        weights: checkpoint file of that configuration.
        output: ``.onnx`` file to write; an error leaves none behind.
        images: image files to compare with, in addition to random ones.
        uint8: take images as uint8 instead of float32.
        flip: average with the mirrored image inside the graph; None: TEST.FLIP.
        tolerance: largest difference accepted, as a share of the largest feature value.
        overrides: KEY VALUE pairs, as in ``load_config``.

    Raises:
        FileNotFoundError: configuration or checkpoint do not exist.
        ImportError: onnx, onnxscript or onnxruntime are not installed.
        ValueError: a mistake in the configuration, a checkpoint of another model, an output that
            does not end in .onnx, a model that cannot be exported, or a result beyond the
            tolerance.
    """
    output = Path(output)
    if output.suffix != ".onnx":
        raise ValueError(f"expected the name of a .onnx file, got {output}")
    expect_writable(output)
    _expect_packages()
    extractor = FeatureExtractor(config, weights, device="cpu", flip=flip, overrides=overrides)
    graph = ImagesToFeatures(extractor.model, flip=extractor.flip).eval()
    dtype = torch.uint8 if uint8 else torch.float32
    shape = _input_shape(extractor)
    batches = [_random_images(count, shape).to(dtype) for count in (1, 3)]
    if images:
        batches += [torch.stack([extractor.transform(read_rgb(path)) for path in images]).to(dtype)]
    proto = _exported(graph, torch.cat(batches[:2])[:2])
    _describe(proto, extractor.metadata, shape, uint8)
    data = proto.SerializeToString()
    report = _compared(data, graph, batches, output)
    if not report.difference <= tolerance * report.largest:
        raise ValueError(
            f"the exported model is not the same: {report}; expected at most {tolerance:g} of the "
            "largest value; nothing was written"
        )
    atomic_write_bytes(output, data)
    return report


def _expect_packages() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"the export needs {error.name}; pip install onnx onnxscript onnxruntime"
        ) from error


def _input_shape(extractor: FeatureExtractor) -> tuple[int, int, int]:
    """Return the shape of an image as the transforms of the test leave it."""
    if extractor.cfg.INPUT.SIZE_TEST[0] <= 0:
        raise ValueError(
            "expected INPUT.SIZE_TEST [height, width] to export, got "
            f"{list(extractor.cfg.INPUT.SIZE_TEST)}"
        )
    return tuple(extractor.transform(Image.new("RGB", (64, 128))).shape)


def _random_images(count: int, shape: tuple[int, int, int]) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, *shape), generator=generator).float()


def _exported(graph: nn.Module, example: Tensor) -> Any:
    """Return the ONNX model of a graph for batches of any size."""
    batch = {0: torch.export.Dim("batch")}
    with torch.no_grad(), _silence():
        graph(example)  # fastreid's ResNet completes its attributes in the first call
        try:
            program = torch.onnx.export(
                graph,
                (example,),
                input_names=["images"],
                output_names=["features"],
                dynamic_shapes={"images": batch},
                dynamo=True,
                verbose=False,
                external_data=False,
            )
        except Exception as error:  # the exporter wraps whatever the model's operators raise
            raise ValueError(
                f"torch cannot export this model to ONNX: {_first_line(error)}; call export_onnx "
                "in Python to see the whole traceback"
            ) from error
    dimension = program.model_proto.graph.input[0].type.tensor_type.shape.dim[0]
    if not dimension.dim_param:
        raise ValueError(
            f"torch exported this model for batches of {dimension.dim_value} images only; in its "
            "code, take shape[0] of a batch where it asks for len()"
        )
    if program.model_proto.ByteSize() >= _LARGEST_FILE:
        raise ValueError("expected a model below 2 GiB, the limit of one ONNX file")
    return program.model_proto


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep the exporter's progress and its warnings about its own code off the console."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _describe(proto: Any, metadata: dict[str, str], shape: Sequence[int], uint8: bool) -> None:
    """Add what a user of the file must know to its metadata."""
    texts = metadata | {
        "input_height": str(shape[1]),
        "input_width": str(shape[2]),
        "colour_order": "RGB",
        "value_range": f"[0, 255], {'uint8' if uint8 else 'float32'}; mean and std are inside",
        "feature_dim": str(proto.graph.output[0].type.tensor_type.shape.dim[1].dim_value),
    }
    for key, value in texts.items():
        entry = proto.metadata_props.add()
        entry.key = key
        entry.value = value


def _compared(data: bytes, graph: nn.Module, batches: list[Tensor], output: Path) -> ExportReport:
    """Run onnxruntime and torch on the same batches."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    difference = 0.0
    largest = 0.0
    for batch in batches:
        with torch.no_grad():
            expected: NDArray[np.float32] = graph(batch).numpy()
        got = session.run(["features"], {"images": batch.numpy()})[0]
        for name, features in (("torch", expected), ("onnxruntime", got)):
            if not np.isfinite(features).all():  # NaN passes every comparison below
                raise ValueError(
                    f"expected finite features, got NaN or infinity from {name}; did training "
                    "diverge? Nothing was written"
                )
        difference = max(difference, float(np.abs(got - expected).max()))
        largest = max(largest, float(np.abs(expected).max()))
    shape = tuple(batches[0].shape[1:])
    return ExportReport(
        output, shape, expected.shape[1], sum(map(len, batches)), difference, largest
    )
