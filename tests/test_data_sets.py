"""Datasets, samplers and collation; orders equal PyTorch's for the same seed."""

import collections
import json
from pathlib import Path

import numpy as np
import pytest

import flambeau as torch
import flambeau.utils.data as data

GOLDEN = json.loads((Path(__file__).parent / "data" / "data_golden.json").read_text())


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["code"][:70])
def test_order_equals_pytorchs(case: dict) -> None:
    torch.manual_seed(7)
    result = eval(case["code"], {"torch": torch, "data": data})
    assert json.loads(json.dumps(result)) == case["result"]


class Letters(data.Dataset):
    def __init__(self, text: str) -> None:
        self.text = text

    def __len__(self) -> int:
        return len(self.text)

    def __getitem__(self, index: int) -> str:
        return self.text[index]


class Counting(data.IterableDataset):
    def __init__(self, stop: int) -> None:
        self.stop = stop

    def __iter__(self):
        return iter(range(self.stop))

    def __len__(self) -> int:
        return self.stop


def test_tensor_dataset() -> None:
    pairs = data.TensorDataset(torch.arange(6).reshape(3, 2), torch.arange(3))
    assert len(pairs) == 3
    x, y = pairs[1]
    assert x.tolist() == [2, 3] and y.item() == 1
    with pytest.raises(AssertionError, match=r"Size mismatch.*\(3,\), \(4,\)"):
        data.TensorDataset(torch.zeros(3), torch.zeros(4))


def test_stack_dataset() -> None:
    letters, numbers = Letters("abc"), range(3)
    assert data.StackDataset(letters, numbers)[1] == ("b", 1)
    named = data.StackDataset(letter=letters, number=numbers)
    assert named[2] == {"letter": "c", "number": 2}
    assert named.__getitems__([0, 1]) == [
        {"letter": "a", "number": 0},
        {"letter": "b", "number": 1},
    ]
    for bad in (lambda: data.StackDataset(), lambda: data.StackDataset(letters, n=numbers)):
        with pytest.raises(ValueError, match="datasets are required"):
            bad()
    with pytest.raises(ValueError, match="Size mismatch"):
        data.StackDataset(letters, range(4))


def test_concat_and_chain() -> None:
    both = Letters("ab") + Letters("cde")
    assert "".join(both[i] for i in range(5)) == "abcde"
    assert both[-1] == "e" and len(both) == 5
    with pytest.raises(ValueError, match="-6"):
        both[-6]
    with pytest.raises(IndexError, match="5"):
        both[5]
    with pytest.raises(AssertionError, match="empty"):
        data.ConcatDataset([])
    with pytest.raises(AssertionError, match="IterableDataset"):
        data.ConcatDataset([Counting(2)])
    chain = Counting(2) + Counting(3)
    assert list(chain) == [0, 1, 0, 1, 2] and len(chain) == 5
    with pytest.raises(AssertionError, match="Letters"):
        list(data.ChainDataset([Letters("ab")]))


def test_subset_and_split() -> None:
    odd = data.Subset(Letters("abcdef"), [1, 3, 5])
    assert "".join(odd) == "bdf" and odd.__getitems__([0, 2]) == ["b", "f"]
    parts = data.random_split(Letters("abcdefgh"), [0.5, 0.3, 0.2])
    assert [len(part) for part in parts] == [5, 2, 1]
    assert sorted("".join("".join(part) for part in parts)) == list("abcdefgh")
    with pytest.raises(ValueError, match="Sum of input lengths"):
        data.random_split(range(5), [2, 2])
    with pytest.raises(ValueError, match="Fraction at index 0"):
        data.random_split(range(5), [1.5, -0.5])
    with pytest.warns(UserWarning, match="Length of split at index 1 is 0"):
        data.random_split(range(1), [0.5, 0.5])


def test_subset_that_changes_samples() -> None:
    class Upper(data.Subset):
        def __getitem__(self, index):
            return super().__getitem__(index).upper()

    assert list(data.DataLoader(Upper(Letters("abc"), [0, 2]), batch_size=2)) == [["A", "C"]]


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: data.RandomSampler([]), ValueError),
        (lambda: data.RandomSampler(range(3), replacement=1), TypeError),
        (lambda: data.RandomSampler(range(3), num_samples=-1), ValueError),
        (lambda: data.WeightedRandomSampler([1.0], 0), ValueError),
        (lambda: data.WeightedRandomSampler([1.0], 1, replacement=None), ValueError),
        (lambda: data.WeightedRandomSampler([[1.0]], 1), ValueError),
        (lambda: data.BatchSampler(range(3), 0, False), ValueError),
        (lambda: data.BatchSampler(range(3), True, False), ValueError),
        (lambda: data.BatchSampler(range(3), 2, "no"), ValueError),
        (lambda: data.DistributedSampler(range(3), 2, 2), ValueError),
        (lambda: data.DistributedSampler(range(3), 2, -1), ValueError),
        (lambda: iter(data.Sampler()), NotImplementedError),
        (lambda: data.Dataset()[0], NotImplementedError),
    ],
)
def test_bad_arguments(make, error) -> None:
    with pytest.raises(error):
        make()


def test_distributed_sampler_epochs() -> None:
    sampler = data.DistributedSampler(range(100), 4, 1)
    first = list(sampler)
    sampler.set_epoch(1)
    assert list(sampler) != first and len(sampler) == 25


def test_collate_structures() -> None:
    Point = collections.namedtuple("Point", "x y")
    batch = [{"p": Point(1, 2.0), "t": (torch.ones(2), "a"), "b": True} for _ in range(3)]
    joined = data.default_collate(batch)
    assert isinstance(joined["p"], Point)
    assert joined["p"].x.tolist() == [1, 1, 1] and joined["p"].x.dtype == torch.int64
    assert joined["p"].y.dtype == torch.float64
    assert joined["t"][0].shape == (3, 2) and list(joined["t"][1]) == ["a", "a", "a"]
    assert isinstance(joined["t"], list)
    assert joined["b"].dtype == torch.bool


def test_collate_keeps_mapping_type() -> None:
    joined = data.default_collate([collections.OrderedDict(a=1), collections.OrderedDict(a=2)])
    assert type(joined) is collections.OrderedDict and joined["a"].tolist() == [1, 2]


def test_collate_numpy() -> None:
    joined = data.default_collate([np.full((2, 3), i, dtype=np.float32) for i in range(4)])
    assert joined.shape == (4, 2, 3) and joined.dtype == torch.float32
    assert data.default_collate([np.float32(1), np.float32(2)]).dtype == torch.float32
    assert data.default_collate([np.int16(1), np.int16(2)]).dtype == torch.int16
    assert data.default_collate([np.array(1.0), np.array(2.0)]).tolist() == [1.0, 2.0]
    assert data.default_collate([np.str_("a")]) == ["a"]
    with pytest.raises(TypeError, match="<U1"):
        data.default_collate([np.array(["a"])])


def test_collate_refuses() -> None:
    with pytest.raises(TypeError, match="object"):
        data.default_collate([object()])
    with pytest.raises(RuntimeError, match="equal size"):
        data.default_collate([[1, 2], [1]])
    with pytest.raises(RuntimeError):
        data.default_collate([torch.ones(2), torch.ones(3)])


def test_convert() -> None:
    converted = data.default_convert({"a": np.ones(2), "b": (1, "x"), "c": [np.zeros(1)]})
    assert torch.equal(converted["a"], torch.ones(2, dtype=torch.float64))
    assert converted["b"] == [1, "x"] and isinstance(converted["c"][0], torch.Tensor)
    assert data.default_convert(np.array(["a"]))[0] == "a"
