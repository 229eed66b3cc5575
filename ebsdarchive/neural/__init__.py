"""The neural field of a scan: I(x, y, u, v) = sum over r of A_r(x, y) B_r(u, v).

`field` evaluates it and `coded` decodes it, with numpy alone; `fit` makes it. Only `siren`, `soap`,
`training` and `rounding` import torch. Method: TF-INR, arXiv:2606.10352.
"""
