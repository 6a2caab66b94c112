"""Torch's compiler comes late, and is then the one that it is without the hook."""

import subprocess
import sys

WAITING = """
import sys
import vaebench
import torch
from torch._dynamo import OptimizedModule

{before}
torch.manual_seed(0)
torch.optim.Adam([torch.nn.Parameter(torch.ones(1))]).zero_grad()

@torch.compiler.disable
def kept_away(x):
    return x + 1

layer, x = torch.nn.Linear(2, 2), torch.ones(1, 2)
assert kept_away(x).sum() == 4 and not isinstance(layer, OptimizedModule)
print("torch._dynamo.eval_frame" in sys.modules)

compiled = torch.compile(layer, backend="eager", fullgraph=True)
assert torch.equal(compiled(x), layer(x)) and isinstance(compiled, OptimizedModule)
assert isinstance(compiled, torch._dynamo.eval_frame.OptimizedModule) and not isinstance(layer, OptimizedModule)
assert torch.equal(torch.compile(lambda x: kept_away(x) * 2, backend="eager")(x), 2 * (x + 1))
try:
    torch.compile(lambda x: kept_away(x), backend="eager", fullgraph=True)(x)
except torch._dynamo.exc.Unsupported:
    print("kept away")
torch.manual_seed(1)
"""


def said(before: str = "") -> list[str]:
    command = [sys.executable, "-c", WAITING.format(before=before)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_what_only_asks_does_not_import_it_and_what_compiles_finds_it_whole() -> None:
    assert said() == ["False", "kept away"]


def test_one_of_its_files_imports_it_whole() -> None:
    before = "import torch._dynamo.exc as exc; assert exc is sys.modules['torch._dynamo.exc'] is torch._dynamo.exc"
    assert said(before) == ["True", "kept away"]
