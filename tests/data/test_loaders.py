import pytest
import torch
from torch.utils.data import SequentialSampler

from fastreid_ext.data.loaders import PersonLoader

DEVICES = [
    "cpu",
    pytest.param(
        "cuda:0",
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
        ],
    ),
]


class Numbers(torch.utils.data.Dataset):
    """Dataset whose sample i has an image with the value i and a dict with its square."""

    def __init__(self, dtype):
        self.dtype = dtype

    def __len__(self):
        return 10

    def __getitem__(self, index):
        image = torch.full((3, 4, 2), index, dtype=self.dtype)
        return {"images": image, "targets": index, "more": {"square": index * index}}


class Mixed(Numbers):
    """Dataset of small and large tensors, some of dtypes that numpy does not have."""

    def __getitem__(self, index):
        wide = torch.full((8192,), index, dtype=torch.bfloat16)
        more = {"few": torch.full((2,), index / 3), "half": wide[:2], "wide": wide}
        return {"images": torch.full((3, 64, 64), index), "seeds": 2**63 - 1 - index, "more": more}


def test_loader_workers_send_small_tensors_by_value():
    dataset = Mixed(torch.uint8)
    options = {"batch_size": 4, "drop_last": False, "device": "cpu"}
    order = SequentialSampler(dataset)
    own = list(PersonLoader(dataset, order, num_workers=0, **options))
    sent = list(PersonLoader(dataset, order, num_workers=1, **options))
    for ours, theirs in zip(own, sent, strict=True):
        assert theirs["images"].is_shared()
        assert theirs["more"]["wide"].is_shared()
        assert not theirs["seeds"].is_shared()
        assert not theirs["more"]["few"].is_shared()
        for first, second in ((ours, theirs), (ours["more"], theirs["more"])):
            for name in first.keys() - {"more"}:
                assert type(second[name]) is torch.Tensor
                assert first[name].dtype == second[name].dtype
                assert torch.equal(first[name], second[name])
        theirs["seeds"] += 1  # can be written to


def loaded(device, *steps, workers=0, dtype=torch.uint8):
    dataset = Numbers(dtype)
    return list(
        PersonLoader(
            dataset,
            SequentialSampler(dataset),
            batch_size=4,
            drop_last=False,
            num_workers=workers,
            device=device,
            batch_steps=steps,
        )
    )


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("workers", [0, 1])
def test_loader_converts_uint8_images_to_float(device, workers):
    batches = loaded(device, workers=workers)
    assert [len(batch["images"]) for batch in batches] == [4, 4, 2]
    assert batches[1]["images"].dtype == torch.float32
    assert batches[1]["images"][:, 0, 0, 0].tolist() == [4, 5, 6, 7]
    assert batches[1]["images"].device == torch.device(device)


@pytest.mark.parametrize("device", DEVICES)
def test_loader_keeps_images_of_other_types(device):
    images = loaded(device, dtype=torch.float64)[0]["images"]
    assert images.dtype == torch.float64


@pytest.mark.parametrize("device", DEVICES)
def test_loader_runs_steps_in_order_on_the_device(device):
    def double(batch):
        assert batch["images"].device == torch.device(device)
        assert batch["images"].dtype == torch.uint8
        return {**batch, "images": batch["images"] * 2}

    def to_float_and_mix(batch):
        mix = {"targets": batch["targets"].flip(0), "weight": 0.25}
        return {**batch, "images": batch["images"].float() + 0.5, "mix": mix}

    batches = loaded(device, double, to_float_and_mix)
    assert batches[2]["images"][:, 0, 0, 0].tolist() == [16.5, 18.5]
    assert batches[2]["mix"]["targets"].tolist() == [9, 8]
    assert batches[2]["mix"]["weight"] == 0.25


@pytest.mark.parametrize("device", DEVICES)
def test_loader_moves_dicts_in_a_batch(device):
    square = loaded(device)[0]["more"]["square"]
    assert square.tolist() == [0, 1, 4, 9]
    assert square.device == torch.device(device)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_loader_waits_for_the_copy_of_a_batch():
    """Slow step in the stream of the copies; code that does not wait for it reads zeros."""

    def slow(batch):
        late = torch.zeros_like(batch["images"])
        torch.cuda._sleep(200_000_000)  # clock cycles: a tenth of a second
        return {**batch, "images": late.copy_(batch["images"])}

    dataset = Numbers(torch.float32)
    loader = PersonLoader(
        dataset,
        SequentialSampler(dataset),
        batch_size=5,
        drop_last=False,
        num_workers=0,
        device="cuda",
        batch_steps=[slow],
    )
    seen = [batch["images"].clone() for batch in loader]  # in the stream of the training
    assert torch.cat(seen)[:, 0, 0, 0].tolist() == list(range(10))
