"""Other servers with the same ensemble, each as its documentation tells its users to run it.

They run in an environment of their own, ``.venv-peers``, made by ``make bench-serve`` from
``benchmarks/requirements-peers.lock``. PyTorch is not installed there a second time, it is 5 GB: a
``.pth`` file puts our own environment's packages last on their path, so they compute with the very
torch that we do, and every package that they name themselves is their own.
"""
