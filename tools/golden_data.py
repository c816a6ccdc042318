"""Writes tests/data/data_golden.json: orders that PyTorch's samplers and loaders give for a seed.

Run it where torch is installed. Each case is an expression evaluated after manual_seed(7).
"""

import json
from pathlib import Path

import torch
import torch.utils.data as data

CASES = [
    "list(data.RandomSampler(range(20)))",
    "list(data.RandomSampler(range(5), num_samples=13))",
    "list(data.RandomSampler(range(20), replacement=True, num_samples=70))",
    "list(data.RandomSampler(range(9), generator=torch.Generator().manual_seed(3)))",
    "[list(data.RandomSampler(range(6), generator=g)) for g in [torch.Generator()] for _ in '12']",
    "list(data.SubsetRandomSampler([5, 3, 8, 1]))",
    "list(data.WeightedRandomSampler([0.1, 0.6, 0.3], 12))",
    "list(data.WeightedRandomSampler([0.1, 0.6, 0.2, 0.1], 3, replacement=False))",
    "list(data.BatchSampler(data.RandomSampler(range(7)), 3, False))",
    "[s.indices for s in data.random_split(range(10), [3, 7])]",
    "[s.indices for s in data.random_split(range(11), [0.5, 0.25, 0.25])]",
    "[b.tolist() for b in data.DataLoader(range(10), batch_size=3, shuffle=True)]",
    "[[b.tolist() for b in data.DataLoader(range(5), batch_size=2, shuffle=True)] for _ in '12']",
    "[[b.tolist() for b in l] for l in [data.DataLoader(range(5), shuffle=True, num_workers=2,"
    " persistent_workers=True)] for _ in '12']",
    "([b.tolist() for b in data.DataLoader(range(4))], torch.randint(0, 1000, (3,)).tolist())",
    "([b.tolist() for b in data.DataLoader(range(6), 2, True, generator=torch.Generator())],"
    " torch.randint(0, 1000, (3,)).tolist())",
    "[list(data.DistributedSampler(range(11), 3, rank)) for rank in range(3)]",
    "[list(data.DistributedSampler(range(11), 3, rank, drop_last=True)) for rank in range(3)]",
    "[list(data.DistributedSampler(range(2), 5, rank, shuffle=False)) for rank in range(5)]",
]


def main() -> None:
    cases = []
    for code in CASES:
        torch.manual_seed(7)
        cases.append({"code": code, "result": eval(code, {"torch": torch, "data": data})})
    path = Path(__file__).parent.parent / "tests" / "data" / "data_golden.json"
    path.write_text(json.dumps(cases, indent=1) + "\n")


if __name__ == "__main__":
    main()
