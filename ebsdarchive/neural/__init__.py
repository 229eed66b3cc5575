"""The neural field of a scan: I(x, y, u, v) = sum over r of A_r(x, y) B_r(u, v).

`field` evaluates it with numpy alone; `fit` makes it (and is the only module that needs torch,
with `siren` and `training`). Method: TF-INR, arXiv:2606.10352.
"""
