"""Dataset of training or test images; augmentation depends on seed and stream position alone."""

import contextlib
import functools
import hashlib
import os
import random
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from fastreid.data.common import CommDataset
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch.utils.data import get_worker_info

from fastreid_ext.data.item_arrays import AnyItem, ItemArrays
from fastreid_ext.data.latent_file import LatentFile
from fastreid_ext.data.samplers import SampledIndex

_NUMBERS = struct.Struct("<QQ")  # seed of the run, position in the stream
# Largest tensor, in bytes, that a worker sends with its message instead of in shared memory.
_SMALL = 16384
_NUMPY_TYPES = (torch.int64, torch.float64, torch.float32, torch.int16, torch.uint8)


class Origin(NamedTuple):
    """Data set and modality of an image.

    Attributes:
        domain: position of the image's data set in ``DATASETS.SOURCES`` and ``NAMES``, in this
            order; 0 for test images.
        modality: modality of the camera: 0 visible, 1 infrared.
    """

    domain: int
    modality: int


class PersonDataset(CommDataset):
    """Images as samples with the keys of fastreid's dataset: images, targets, camids, img_paths.

    Samples also have ``indices``, the position of the image among the N, and ``domains`` and
    ``modalities``, the fields of :class:`Origin`, all as ints; with ``clean`` the image without
    augmentation as ``clean_images``, and with ``latents`` its latent (2, c, h, w) float16 as
    ``latents``.

    ``images`` is the result of ``transform``: with fastreid's transforms float (3, H, W) RGB in
    [0, 255]. ``targets`` and ``camids`` are Python ints (fastreid's collator turns numpy's into
    None); with ``relabel`` they count from 0 in the order of the sorted names. The sample of a
    :class:`SampledIndex` also has ``seeds``, an int in [0, 2^63), for steps that need random
    numbers later, on the batch.

    Attributes:
        img_items: (path, pid, camid) of each image, as arrays.
        pids: sorted names of the identities.
        cams: sorted names of the cameras.
        targets: (N,) int, class of each image.
        camids: (N,) int, camera of each image.
        latents: latents of the N images, or None, the default;
            :func:`~fastreid_ext.engine.latent_cache.give_latents` sets them in place of ``clean``.
        source_labels: identities of the first images, those of ``DATASETS.SOURCES``, counted from
            0; the loader sets them. Empty without sources.

    Args:
        items: (path, pid, camid) of each of N images.
        transform: function from the result of ``read`` to a tensor, or to a dict with "images" and
            further entries of the sample. It may use the process-wide generators of ``random``,
            numpy and torch. If it has an attribute ``generator`` (of torch), it must use that one
            alone, which saves seeding the others. The generators are seeded for each sample. If
            its attribute ``takes_origin`` is true, it also gets the image's :class:`Origin`.
        relabel: True for training, so that targets count from 0.
        read: function from a path to an image. If it has methods ``places_of`` and ``at``, such as
            :class:`~fastreid_ext.data.packed.PackedImages`, the positions of all images are looked
            up once and images are read by position, which saves looking up each path.
        domains: (N,) int, domain of each image; None = 0.
        modalities: (N,) int, modality of each image; None = visible.
        clean: function from the result of ``read`` to a tensor, without random numbers.
        positive: function from the index of an image and a generator to another decoded image of
            the person, for a transform whose attribute ``takes_positive`` is true: it gets a
            function of the generator alone.

    Example:
        >>> items = [("a.jpg", "set_7", "set_c1"), ("b.jpg", "set_3", "set_c1")]
        >>> dataset = PersonDataset(items, torch.tensor, relabel=True, read=lambda path: [0.0])
        >>> (dataset[0]["targets"], dataset[1]["targets"], dataset.num_classes)
        (1, 0, 2)
    """

    def __init__(
        self,
        items: Sequence[AnyItem],
        transform: Callable[[Any], Any],
        *,
        relabel: bool,
        read: Callable[[str], Any] | None = None,
        domains: NDArray[np.integer] | None = None,
        modalities: NDArray[np.integer] | None = None,
        clean: Callable[[Any], torch.Tensor] | None = None,
        positive: Callable[[int, np.random.Generator], Any] | None = None,
    ) -> None:
        # Not fastreid's __init__: it keeps a dict entry per identity in each loader worker.
        self.img_items = ItemArrays.of(items)
        self.transform = transform
        self.relabel = relabel
        targets, self.pids = self.img_items.dense_pids()
        camids, self.cams = self.img_items.dense_camids()
        self.targets = targets if relabel else self.img_items.pids
        self.camids = camids if relabel else self.img_items.camids
        self.read = read_rgb if read is None else read
        places_of = getattr(self.read, "places_of", None)
        self._places = None if places_of is None else places_of(self.img_items.paths)
        self.domains = domains
        self.modalities = modalities
        self.clean = clean
        self.positive = positive
        self.latents: LatentFile | None = None
        self.source_labels: NDArray[np.integer] = np.empty(0, np.int64)

    def set_targets(self, labels: NDArray[np.integer]) -> None:
        """Assign other classes to the images.

        Args:
            labels: (N,) classes counted from 0; -1 for images that are left out of all batches.
        """
        self.targets = labels
        self.pids = np.arange(int(labels.max(initial=-1)) + 1)

    def origin(self, index: int) -> Origin:
        """Return domain and modality of an image."""
        return Origin(_number(self.domains, index), _number(self.modalities, index))

    def _positive_of(self, index: int) -> Callable[[np.random.Generator], Any]:
        if self.positive is None:
            raise ValueError(
                "the transform needs pose-changed images, got none; build the loader with the "
                "configuration of the transform, or pass positive="
            )
        return functools.partial(self.positive, int(index))

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Read and transform one image; a :class:`SampledIndex` also seeds the augmentation."""
        path = self.img_items.paths[index]
        image = self.read(path) if self._places is None else self.read.at(self._places.item(index))
        is_sampled = isinstance(index, SampledIndex)
        takes_origin = getattr(self.transform, "takes_origin", False)
        inputs = (image, self.origin(index)) if takes_origin else (image,)
        if getattr(self.transform, "takes_positive", False):
            inputs += (self._positive_of(index),)
        if is_sampled:
            output = _transformed(self.transform, inputs, index)
        else:
            output = self.transform(*inputs)
        # Plain arguments and ``item``: objects and numpy scalars for each sample cost as much as
        # looking up the image.
        sample = {
            "images": None,
            "targets": self.targets.item(index),
            "camids": self.camids.item(index),
            "indices": int(index),
            "img_paths": path,
            "domains": _number(self.domains, index),
            "modalities": _number(self.modalities, index),
        }
        if self.clean is not None:
            sample["clean_images"] = self.clean(image)
        if self.latents is not None:
            sample["latents"] = self.latents.at(index)
        if is_sampled:
            sample["seeds"] = batch_seed(index)
        return sample | (output if isinstance(output, Mapping) else {"images": output})


def _number(numbers: NDArray[np.integer] | None, index: int) -> int:
    """Return one of (N,) numbers, or 0 if ``numbers`` is None."""
    return 0 if numbers is None else numbers.item(index)


def _transformed(
    transform: Callable[..., Any], inputs: tuple[Any, ...], index: SampledIndex
) -> Any:
    generator = getattr(transform, "generator", None)
    if generator is not None:
        generator.manual_seed(_seeds(index.seed, index.position)[1])
        return transform(*inputs)
    with seeded_randomness(index):
        return transform(*inputs)


def batch_seed(index: SampledIndex) -> int:
    """Compute a sample's seed in [0, 2^63) for random numbers used after loading, on the batch."""
    place = _NUMBERS.pack(index.seed, index.position)
    return int.from_bytes(hashlib.blake2b(place, digest_size=8, person=b"batch").digest()) >> 1


def read_rgb(path: str | os.PathLike) -> Image.Image:
    """Read an image file as 8-bit RGB, rotated as its EXIF data says.

    fastreid keeps the mode of the file, so RGBA and CMYK files become four channels and a palette
    file becomes its indices. Pillow also clips 16-bit grey to white.

    Raises:
        OSError: the file is missing, damaged or not an image; the message names it.
    """
    try:
        with Image.open(path) as image:
            ImageOps.exif_transpose(image, in_place=True)
            image.load()
            if image.mode.startswith("I;16"):
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            return image if image.mode == "RGB" else image.convert("RGB")
    # Pillow raises SyntaxError, ValueError, struct.error and more for damaged files.
    except Exception as error:
        raise OSError(
            f"cannot read image {path}: {error}; run tools/check_data.py to list all such files, "
            "then restore or remove them"
        ) from error


@contextlib.contextmanager
def seeded_randomness(index: SampledIndex) -> Iterator[None]:
    """Seed ``random``, numpy and torch for a sample; restore their states in the main process."""
    # Restoring costs 0.15 ms (numpy), and nothing else uses the generators in a worker.
    outside = None
    if get_worker_info() is None:
        outside = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    try:
        for_python, for_torch, for_numpy = _seeds(index.seed, index.position)
        random.seed(for_python)
        np.random.seed(for_numpy)  # noqa: NPY002  the transforms use it
        # Not torch.manual_seed: it also looks for GPUs, 0.3 ms.
        torch.default_generator.manual_seed(for_torch)
        yield
    finally:
        if outside is not None:
            random.setstate(outside[0])
            np.random.set_state(outside[1])  # noqa: NPY002
            torch.set_rng_state(outside[2])


def _seeds(seed: int, position: int) -> tuple[int, int, int]:
    """Hash seed and position to two 64-bit seeds and a 32-bit one."""
    digest = hashlib.blake2b(_NUMBERS.pack(seed, position), digest_size=20).digest()
    return struct.unpack("<QQI", digest)


def collate(samples: list[Any]) -> Any:
    """Join samples into a batch as fastreid's collator does, but refuse values it would lose.

    Tensors are stacked, ints and floats become int64 and float64 tensors, strings a list, dicts are
    joined key by key. In a worker a large stack is made in shared memory, which saves a copy.

    Args:
        samples: samples of equal structure, at least one.

    Raises:
        TypeError: a value has another type, which fastreid would silently replace by None.

    Example:
        >>> collate([{"images": torch.zeros(3, 4, 2), "targets": 5}] * 2)["targets"]
        tensor([5, 5])
    """
    first = samples[0]
    if isinstance(first, torch.Tensor):
        return torch.stack(samples, out=_shared_like(samples))
    if isinstance(first, Mapping):
        return {key: collate([sample[key] for sample in samples]) for key in first}
    if isinstance(first, float):
        return torch.tensor(samples, dtype=torch.float64)
    if isinstance(first, int):
        # Three times as fast as torch.tensor, which looks at each element.
        return torch.from_numpy(np.array(samples, np.int64))
    if isinstance(first, str | bytes):
        return samples
    raise TypeError(
        f"expected tensors, ints, floats, strings or dicts of them in a sample, got {type(first)}; "
        "convert numpy values with int() or torch.as_tensor()"
    )


def collate_to_send(samples: list[Any]) -> Any:
    """Join samples as :func:`collate`; in a worker, prepare the batch to be sent to the loader.

    torch passes each tensor on as a file in shared memory, 0.1 ms of system calls. That pays off
    for images; the bytes of small tensors go with the message. The loader gets tensors.
    """
    batch = collate(samples)
    return batch if get_worker_info() is None else _with_small_by_value(batch)


def _with_small_by_value(batch: Any) -> Any:
    if isinstance(batch, Mapping):
        return {key: _with_small_by_value(value) for key, value in batch.items()}
    is_plain = type(batch) is torch.Tensor and batch.dtype in _NUMPY_TYPES
    is_small = is_plain and not batch.requires_grad and batch.nbytes <= _SMALL
    return _ByValue(batch) if is_small else batch


class _ByValue:
    """Wrapper that pickles a tensor with its bytes and is unpickled as the tensor.

    Args:
        tensor: tensor on the CPU with a dtype that numpy has.
    """

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor

    def __reduce__(self) -> tuple[Callable[..., torch.Tensor], tuple[NDArray[Any]]]:
        return torch.from_numpy, (self.tensor.numpy(),)


def _shared_like(tensors: list[torch.Tensor]) -> torch.Tensor | None:
    if get_worker_info() is None:
        return None
    first = tensors[0]
    if first.nbytes * len(tensors) <= _SMALL:
        return None
    storage = first._typed_storage()._new_shared(first.numel() * len(tensors), device="cpu")
    return first.new(storage).resize_(len(tensors), *first.shape)
