"""The neural field of a scan: I(x, y, u, v) = sum over r of A_r(x, y) B_r(u, v).

`field` evaluates it and `coded` decodes it, with numpy alone; `fit` makes it. Modules called
`joint_…` do the same for the joint formulation, in which I is one network. Only `siren`, `soap`,
`training`, `rounding`, `joint_network` and `joint_training` import torch. Methods: TF-INR and
4D-INR, arXiv:2606.10352.
"""
