"""Many runs trained as one program, inside one Lightning Trainer; a run alone is a pack of one.

A step of a small network costs what Python and the dispatcher cost; thirty of them cost little more if they are one
step on stacks `[M, …]`. The models stay plain code for one member.

- `members`: what the members of a pack share, what is a value of each, a member's code as a function of its tensors.
- `program`: that function mapped over all members, differentiated, and recorded once as a flat list of operations;
  by `mapping` (what vmap does slowly), `independence` (the same bits in any company) and `shortening` (less to do).
- `adam`: all parameters as one matrix, a row a member, each with its own learning rate, clipping and death.
- `data`: for every seed the batches of a run alone.
- `stacks`: the tensors of all members, a stack each, and the programs on them.
- `measuring`: diagnostics of all members at once, for their curves.
- `pack`: the LightningModule; `history`: what its members' loggers are told; `checkpoint`: what a member leaves.
- `snapshot`: a member at the end of an epoch, from which it goes on in any pack; `resuming`: how.

The same bits alone and in any company on a CPU with one thread; elsewhere, and against the plain model in a plain
Trainer, the same to rounding.
"""
