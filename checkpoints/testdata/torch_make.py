"""Makes the torch_* files of this folder with the real torch.save: python torch_make.py (torch 2.11.0, safetensors 0.8.0)."""

import collections
import fractions

import safetensors.torch
import torch

torch.manual_seed(0)
base = torch.randn(4, 6)
state = collections.OrderedDict(
    fp32=base.clone(), bf16=torch.randn(3, 5).bfloat16(), fp16=torch.randn(7).half(), fp64=torch.randn(2, 2).double(), i64=torch.arange(5),
    whole=base, rows=base[1:3], columns=base[:, 2:4], transposed=base.t(), shared=base,  # five views of one storage
    scalar=torch.tensor(1.5), empty=torch.zeros(0, 3), parameter=torch.nn.Parameter(torch.randn(2)),
)
torch.save(state, "torch_state.bin")
torch.save(state, "torch_before_1_6.bin", _use_new_zipfile_serialization=False)
torch.save({"weight": base, "note": fractions.Fraction(1, 2)}, "torch_other_class.bin")
safetensors.torch.save_file({name: tensor.detach().clone().contiguous() for name, tensor in state.items()}, "torch_state.safetensors")
