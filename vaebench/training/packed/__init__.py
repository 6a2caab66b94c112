"""Many runs trained as one program, inside one Lightning Trainer. A single run is a pack of one.

A run trains outside a pack only where `Train.why_not_packed` has a reason, or where a model cannot be packed.

A step of a small network costs mostly Python and torch's dispatcher. Thirty such steps cost little more than one if
they are one step on stacks `[M, …]`. Models stay plain code for one member.

- `module`: the LightningModule of a pack, with a glossary, and with what happens when a member diverges.
- `loaders`: for each seed the batches that a run has by itself; what a step, a block and a chunk are.
- `stacked`: the tensors of all members as stacks; a member's code as a function of its tensors; the check that members
  differ in values only.
- `capture`: that function, mapped over all members, differentiated, and turned once into a flat list of operations.
  `vmap_rules`: faster batching rules. `graph_passes`: fewer operations, and the same bits in any pack.
- `optimizers`: torch's, for the matrix of all parameters with a row per member. `metrics`: metrics of all members.
- `compiled`: the captured program and the optimiser as machine code, if the user asks for it and it pays.
- `cuda_graph`: on a GPU, blocks of steps as one CUDA graph.
- `torch_private`: the private interfaces of torch that all this uses.

On a CPU with one thread a member has the same bits in a pack of one and in any other. Elsewhere, and compared with the
plain step of `vaebench.training.step`, it has the same numbers to rounding.
"""
