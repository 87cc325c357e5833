"""Guests: Linux kernels with WireGuard that run as ordinary programs (User-Mode Linux), for tests and demonstrations.

`python -m tests.vm` is the command line. `kernel` finds or builds the kernel, `guest` boots one and runs commands in
it, `lan` joins guests. Nothing here belongs to the product.
"""
